"""`overpaint run` on engines of a few lines of NumPy, in a folder with three pictures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.cli.typed import Command, Outcome
from tests.doubles.engines import FakeEngines, fake_pipeline

from overpaint.cli import main
from overpaint.runtime import Img2Img


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[FakeEngines]:
    """Each `Img2Img.open` gives a pipeline of fakes, listed here."""
    engines: list[FakeEngines] = []

    def open_fake(_: object, *, low_memory: bool, **__: object) -> Img2Img:
        folder = tmp_path / f"bundle{len(engines)}"
        pipe, fakes = fake_pipeline(folder, low_memory=low_memory)
        engines.append(fakes)
        return pipe

    monkeypatch.setattr(Img2Img, "open", open_fake)
    return engines


@pytest.fixture
def overpaint(
    opened: list[FakeEngines],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> Command:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    for name, colour in {"a": "navy", "b": "teal", "c": "olive"}.items():
        Image.new("RGB", (64, 48), colour).save(f"{name}.png")

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["overpaint", "run", *map(str, arguments)])
        try:
            main.main()
            code: Any = 0
        except SystemExit as exit:
            code = exit.code or 0
        captured = capsysbinary.readouterr()
        return Outcome(code, captured.out, captured.err.decode())

    return run
