"""bfloat16 only where a bundle's own pictures survive it: measured once, before it is first used.

One picture, 256x256, is painted by the bundle's own defaults in float32 and in bfloat16. Below
`BAR_DB` bfloat16 is refused; what passed is told in `overpaint info` and with every result.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from overpaint.bundle.errors import SessionError
from overpaint.bundle.format.bundle import Bundle
from overpaint.engines.choose import Decision, open_session
from overpaint.engines.openvino.bf16 import BAR_DB, measured, remember

from .components import Components
from .engines import Engines
from .image.compare import psnr
from .request import Request
from .result import Complete
from .run import run
from .settings import Settings

PROMPT: Final = "a photograph of a house by a lake"
SIDE: Final = 256

Steps = Callable[[int, int], None]
"""Called with (denoising steps done, in all)."""

_LOG = logging.getLogger(__name__)


def gated(bundle: Bundle, decision: Decision, progress: Steps | None = None) -> Decision:
    """`decision`, with the PSNR that stands for its bfloat16.

    Raises:
        SessionError: this bundle's pictures do not survive bfloat16.
    """
    if (psnr_db := measured(bundle)) is None:
        psnr_db = compare(bundle, decision, progress)
        remember(bundle, psnr_db)
    if psnr_db < BAR_DB:
        raise SessionError(
            f"--precision bf16: pictures of {bundle.folder} come out at {psnr_db:.1f} dB against "
            f"float32, and {BAR_DB:g} is the least; use --precision f32"
        )
    _LOG.info("%s in bf16: %.1f dB against f32", bundle.folder, psnr_db)
    return replace(decision, psnr_db=psnr_db)


def compare(bundle: Bundle, decision: Decision, progress: Steps | None = None) -> float:
    """PSNR in dB of the bundle's picture in bfloat16 against the same in float32."""
    exact = _paint(bundle, replace(decision, precision="f32"), _half(progress, 0))
    rounded = _paint(bundle, replace(decision, precision="bf16"), _half(progress, 1))
    return psnr(rounded, exact)


def landscape(side: int = SIDE) -> Image.Image:
    """A picture with as much of each scale as photographs have: noise in octaves, as loud as its
    cells are wide."""
    rng = np.random.default_rng(0)
    total = np.zeros((side, side, 3))
    for cells in (2, 4, 8, 16, 32, 64):
        noise = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), np.uint8))
        smooth = noise.resize((side, side), Image.Resampling.BICUBIC)
        total += np.asarray(smooth, np.float64) / cells
    low, high = total.min(), total.max()
    return Image.fromarray(((total - low) / (high - low) * 255).astype(np.uint8))


def _paint(bundle: Bundle, decision: Decision, progress: Steps) -> npt.NDArray[np.uint8]:
    """One engine is open at a time: the other precision's may follow in the same memory."""
    components = Components((), lambda name: open_session(bundle, name, decision), low_memory=True)
    engines = Engines.of(bundle, components, decision)
    request = Request(landscape(), PROMPT, Settings(seed=0, size=(SIDE, SIDE)))
    for event in run(engines, request):
        if isinstance(event, Complete):
            return np.asarray(event.result.images[0], np.uint8)
        progress(event.index, event.total)
    raise AssertionError("a run ends in Complete or an error")


def _half(progress: Steps | None, which: int) -> Steps:
    """Progress through the first or the second of two runs."""

    def steps(done: int, total: int) -> None:
        if progress is not None:
            progress(which * total + done, 2 * total)

    return steps
