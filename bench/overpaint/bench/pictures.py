"""The picture that everybody repaints, and how far two finished ones are apart."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from overpaint.runtime.image import compare, place, read

IDENTICAL_DB = 100.0


def write_input(path: Path, size: tuple[int, int], source: Path | None) -> str:
    """Write `source` at `size` (width, height) as PNG, or a drawn picture; its pixels' SHA-256.

    Everybody reads the file at its own size, so that nobody's way of resizing is compared.
    """
    picture = drawn(size) if source is None else _fitted(source, size)
    picture.save(path)
    return hashlib.sha256(picture.convert("RGB").tobytes()).hexdigest()


def _fitted(source: Path, size: tuple[int, int]) -> Image.Image:
    picture = read(source).image
    return place(picture.size, size).canvas(picture)


def drawn(size: tuple[int, int]) -> Image.Image:
    """Smooth, with an edge and grain, and the same everywhere."""
    width, height = size
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
    picture = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), np.float64)
    picture = picture + rng.normal(0, 6, (height, width, 3))
    picture[height // 3 : height // 2, width // 4 : width // 2] = (20, 60, 90)
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))


def psnr(one: Path, other: Path) -> tuple[float, int]:
    """(peak signal-to-noise ratio in dB, largest difference of a channel) of two 8-bit pictures.

    100 dB stands for identical. Pictures of different sizes are 0 dB and 255 apart.
    """
    with Image.open(one) as a, Image.open(other) as b:
        left, right = (np.asarray(x.convert("RGB")) for x in (a, b))
    if left.shape != right.shape:
        return 0.0, 255
    largest = int(np.abs(left.astype(np.int16) - right).max())
    return min(round(compare.psnr(left, right), 2), IDENTICAL_DB), largest
