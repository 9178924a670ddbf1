"""What a job costs in memory, beside the weights: known before it is taken.

Measured once as a model is opened: a picture is painted, and the process' peak is read between the
stages. From that picture to others a decoder grows with the pixels: it takes one image after the
other. A denoiser holds all images of a job, and grows with the pixels to the power of 1.5: with the
first its convolutions, with the second its attention. Where nothing can be measured, a guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Event as Flag
from typing import Final

from PIL import Image

from overpaint.bundle.errors import OverpaintError, UsageError
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
LEAST: Final = 100  # bytes a pixel, however little was measured
GUESS: Final = (512 * 512, 2_000_000_000, 1_000_000_000)  # Stable Diffusion 1.5 on a processor
LARGE: Final = 2  # times the cost of a picture of the model's own size


@dataclass(frozen=True, slots=True)
class Price:
    """Of one image of `pixels`: bytes while it is denoised, with guidance, and while it is decoded.
    `batch` images at most are denoised together."""

    pixels: int
    denoise: int
    decode: int
    batch: int

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
    """Paint a picture of `side`, or a larger one where that costs too little to be seen; a guess
    where the system tells no peak, or the engine failed. Blocks."""
    try:
        paint_small(pipeline, sides)  # touches every weight: those are counted elsewhere
        before = _resident()
        larger = max(side, SMALLEST)
        width, height = sides.nearest((larger, larger))
        denoised, decoded = _peaks(pipeline, (width, height))
    except (OSError, OverpaintError):
        return guess(manifest)
    pixels = width * height
    least = LEAST * pixels
    return Price(pixels, max(least, denoised - before), max(least, decoded), _at_once(manifest))


def paint_small(pipeline: Pipeline, sides: Sides) -> None:
    """Paint the smallest picture. After a large one, engines give back what they held for it."""
    _peaks(pipeline, (sides.minimum, sides.minimum))


def _at_once(manifest: Manifest) -> int:
    try:
        return batch_size(manifest, 1_000_000, guided=True)
    except UsageError:
        return 1


def _peaks(pipeline: Pipeline, size: tuple[int, int]) -> tuple[int, int]:
    """The peak up to the end of denoising, and what decoding added to what was held then."""
    settings = Settings(size=size, steps=1, steps_mode="exact", seed=0)
    request = Request(Image.new("RGB", size, "grey"), "a picture", settings)
    denoised = between = 0
    _forget_peak()
    for event in pipeline.events(request, Flag()):
        if isinstance(event, Complete):
            break
        denoised, between = _peak(), _resident()
        _forget_peak()
    return denoised, _peak() - between


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
