"""How far two pictures are apart."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from overpaint.bench.pictures import drawn, psnr, write_input


def saved(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def test_psnr_of_a_difference_of_one_everywhere_is_48_decibels(tmp_path: Path) -> None:
    grey = np.full((8, 8, 3), 100)
    one, other = saved(tmp_path / "a.png", grey), saved(tmp_path / "b.png", grey + 1)
    assert psnr(one, other) == (pytest.approx(20 * math.log10(255), abs=0.01), 1)
    assert psnr(one, one) == (100.0, 0)


def test_pictures_of_two_sizes_are_not_the_same(tmp_path: Path) -> None:
    one = saved(tmp_path / "a.png", np.zeros((8, 8, 3)))
    other = saved(tmp_path / "b.png", np.zeros((8, 9, 3)))
    assert psnr(one, other) == (0.0, 255)


def test_the_drawn_picture_is_the_same_every_time_and_no_grey_field(tmp_path: Path) -> None:
    first = write_input(tmp_path / "a.png", (48, 32), None)
    assert first == write_input(tmp_path / "b.png", (48, 32), None)
    assert first != write_input(tmp_path / "c.png", (32, 48), None)
    assert np.asarray(drawn((48, 32))).std() > 20


def test_a_picture_of_the_users_arrives_at_the_size_asked_for(tmp_path: Path) -> None:
    mine = saved(tmp_path / "mine.png", np.random.default_rng(0).integers(0, 255, (40, 60, 3)))
    write_input(tmp_path / "in.png", (32, 24), mine)
    with Image.open(tmp_path / "in.png") as image:
        assert image.size == (32, 24)
