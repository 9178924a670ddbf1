"""The examples run."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.doubles.engines import SCALING, fake_pipeline

from overpaint.runtime import Img2Img

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_watching_a_picture_come_about_gives_it_and_an_animation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    factors = tuple(tuple(float(i == j) / SCALING for j in range(3)) for i in range(4))
    pipe, _ = fake_pipeline(tmp_path / "bundle", preview=factors)
    monkeypatch.setattr(Img2Img, "open", lambda _: pipe)
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 48), "navy").save("photo.png")
    runpy.run_path(str(EXAMPLES / "watch.py"))["watch"]("photo.png", "red")
    with Image.open("watched.gif") as animation:
        assert getattr(animation, "n_frames", 1) > 3
        assert animation.size == (64, 48)
    assert np.asarray(Image.open("watched.png")).shape == (48, 64, 3)
