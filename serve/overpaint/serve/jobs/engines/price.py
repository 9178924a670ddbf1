"""What a job costs in memory, beside the weights: known before it is taken.

Measured once as a model is opened: a picture is painted, and the process' peak is read between the
stages. From that picture to others a decoder grows with the pixels: it takes one image after the
other. A denoiser holds all images of a job; its convolutions grow with the pixels, its attention
with their square, and the power of 1.5 is more than both together took up to four times the pixels.
That is the one reserve. Where nothing can be measured, a guess.

Of a device of its own only what is free there can be read, around a picture larger than the one
that the engine is warm for: what it took for that it keeps.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Flag
from typing import Final

from PIL import Image

from overpaint.bundle.errors import CancelledError, OverpaintError, UsageError
from overpaint.bundle.format.manifest import Manifest
from overpaint.runtime.image import Sides
from overpaint.runtime.prepare import batch_size
from overpaint.runtime.request import Request
from overpaint.runtime.result import Complete
from overpaint.runtime.settings import Settings

from .worker import Pipeline

STATUS: Final = Path("/proc/self/status")
CLEAR: Final = Path("/proc/self/clear_refs")
GROWTH: Final = 1.5
SMALLEST: Final = 256  # the side of a picture that costs more than what else moves in a process
COMMON: Final = 512  # of one that most models are asked for: no guess is needed up to there
LEAST: Final = 100  # bytes a pixel, however little was measured
GUESS: Final = (512 * 512, 2_000_000_000, 1_000_000_000)  # Stable Diffusion 1.5 on a processor
GUIDED: Final = 2.0  # the dearer way, also of a model whose default has no guidance
LARGE: Final = 2  # times the cost of a picture of the model's own size


@dataclass(frozen=True, slots=True)
class Price:
    """Of one image of `pixels`: bytes while it is denoised, with guidance, and while it is decoded.
    `batch` images at most are denoised together. `room` is what a device of its own has for jobs;
    None: they take the host's memory."""

    pixels: int
    denoise: int
    decode: int
    batch: int
    room: int | None = None

    def of(self, pixels: int, n: int) -> int:
        """Bytes for `n` images of so many pixels."""
        times = pixels / self.pixels
        together = min(n, self.batch)
        return int(together * self.denoise * max(times, times**GROWTH) + self.decode * times)

    def most_pixels(self, room: int, n: int) -> int:
        """The most pixels of each of `n` images that `room` bytes are enough for."""
        low, high = 0, 1 << 32
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.of(middle, n) <= room else (low, middle)
        return low


def guess(manifest: Manifest) -> Price:
    """Where nothing can be measured."""
    return Price(*GUESS, _at_once(manifest))


def measure(pipeline: Pipeline, manifest: Manifest, sides: Sides, side: int) -> Price:
    """Denoise a picture of `side`, and decode one, or larger ones where those cost too little to be
    seen; a guess where the system tells no peak, or the engine failed. Blocks."""
    large, small = (sides.nearest((max(side, least),) * 2) for least in (COMMON, SMALLEST))
    try:
        paint_small(pipeline, sides)  # touches every weight: those are counted elsewhere
        before = _resident()
        denoised, decoded = _peaks(pipeline, large, decode=large == small)
        if large != small:
            paint_small(pipeline, sides)
            _, decoded = _peaks(pipeline, small)
    except (OSError, OverpaintError):
        return guess(manifest)
    pixels = _area(large)
    least = LEAST * pixels
    decode = decoded * pixels // _area(small)
    return Price(pixels, max(least, denoised - before), max(least, decode), _at_once(manifest))


def measure_on_device(
    pipeline: Pipeline, manifest: Manifest, sides: Sides, side: int, free: Callable[[], int]
) -> Price | None:
    """Paint a picture of twice the pixels of `side`, for which the engine is warm; `free` tells the
    bytes that its device has left. None where the device does not tell. Blocks."""
    warm, large = sides.nearest((side, side)), sides.nearest((round(side * 2**0.5),) * 2)
    try:
        _paint(pipeline, warm)
        before = free()
        _paint(pipeline, large)
        left = free()
    except OverpaintError:
        return None
    more = max(1, _area(large) - _area(warm))
    all_of_it = max(LEAST, (before - left) / more) * _area(large)
    room = int(left + all_of_it)
    return Price(_area(large), int(all_of_it), 0, _at_once(manifest), room)


def paint_small(pipeline: Pipeline, sides: Sides) -> None:
    """Paint the smallest picture. After a large one, engines give back what they held for it."""
    _paint(pipeline, (sides.minimum, sides.minimum))


def _at_once(manifest: Manifest) -> int:
    try:
        return batch_size(manifest, 1_000_000, guided=True)
    except UsageError:
        return 1


def _peaks(pipeline: Pipeline, size: tuple[int, int], *, decode: bool = True) -> tuple[int, int]:
    """The peak up to the end of denoising, and what decoding added to what was held then."""
    denoised = between = 0
    stop = Flag()
    _forget_peak()
    with contextlib.suppress(CancelledError):
        for event in pipeline.events(_picture(size), stop):
            if isinstance(event, Complete):
                break
            denoised, between = _peak(), _resident()
            _forget_peak()
            if not decode:
                stop.set()
    return denoised, _peak() - between


def _paint(pipeline: Pipeline, size: tuple[int, int]) -> None:
    for _ in pipeline.events(_picture(size), Flag()):
        pass


def _picture(size: tuple[int, int]) -> Request:
    settings = Settings(size=size, steps=1, steps_mode="exact", guidance_scale=GUIDED, seed=0)
    return Request(Image.new("RGB", size, "grey"), "a picture", settings)


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def _forget_peak() -> None:
    CLEAR.write_text("5")  # proc(5): the peak begins again at what is resident


def _peak() -> int:
    return _status("VmHWM")


def _resident() -> int:
    return _status("VmRSS")


def _status(name: str) -> int:
    """Bytes. Raises OSError where the system does not tell."""
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{STATUS} has no {name}")
