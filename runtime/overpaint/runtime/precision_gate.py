"""Fewer bits only where a bundle's own pictures survive them.

One small picture is painted by the bundle's own defaults, in float32 and in the other precision.
Below `BAR_DB` that is refused; what passed is told in `overpaint info` and with every result. For
bfloat16 this is done once, before it is first used; for 8 bits where they are built.
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
from overpaint.engines.backend import Asked
from overpaint.engines.backends import BACKENDS
from overpaint.engines.choose import Decision, choose, open_session
from overpaint.engines.host.memory import memory_limit
from overpaint.engines.openvino.bf16 import BAR_DB, SIDE, STEPS, measured, remember
from overpaint.engines.openvino.int8 import read_record
from overpaint.engines.session.session import Session

from .components import Components
from .engines import Engines
from .image.compare import psnr
from .request import Request
from .result import Complete
from .run import run
from .settings import Settings

PROMPT: Final = "a photograph of a house by a lake"

Steps = Callable[[int, int], None]
"""Called with (denoising steps done, in all)."""

Picture = npt.NDArray[np.uint8]

_LOG = logging.getLogger(__name__)


def gated(bundle: Bundle, decision: Decision, progress: Steps | None = None) -> Decision:
    """`decision`, with the PSNR that stands for its precision.

    Raises:
        SessionError: this bundle's pictures do not survive bfloat16, or nothing was built in 8
            bits.
    """
    if decision.precision == "f32":
        return decision
    psnr_db = _built(bundle) if decision.precision == "int8" else measured(bundle)
    if psnr_db is None:
        _LOG.info("%s: comparing bf16 with f32, once", bundle.folder)
        psnr_db = compare(bundle, decision, progress)
        remember(bundle, psnr_db)
    if psnr_db < BAR_DB:
        raise SessionError(
            f"--precision {decision.precision}: pictures of {bundle.folder} come out at "
            f"{psnr_db:.1f} dB against float32, and {BAR_DB:g} is the least; use --precision f32"
        )
    _LOG.info("%s in %s: %.1f dB against f32", bundle.folder, decision.precision, psnr_db)
    return replace(decision, psnr_db=psnr_db)


def compare(bundle: Bundle, decision: Decision, progress: Steps | None = None) -> float:
    """PSNR in dB of the bundle's picture in bfloat16 against the same in float32."""
    in_bf16 = replace(decision, precision="bf16")
    in_f32 = _in_float32(bundle, decision)
    exact = paint(bundle, lambda name: open_session(bundle, name, in_f32), part(progress, 0, 2))
    rounded = paint(bundle, lambda name: open_session(bundle, name, in_bf16), part(progress, 1, 2))
    return psnr(rounded, exact)


def _in_float32(bundle: Bundle, decision: Decision) -> Decision:
    """OpenVINO, which packs all weights in float32; where the largest component's would take more
    than half of the memory, ONNX Runtime, which leaves stored halves mapped and paints the same."""
    held, limit = BACKENDS[decision.chosen.device].held, memory_limit()
    if held is None or limit is None:
        return replace(decision, precision="f32")
    largest = max(held(bundle, name, Asked()) for name in bundle.manifest.components)
    if largest > limit / 2:
        return replace(choose(bundle, "cpu"), low_memory=True)
    return replace(decision, precision="f32")


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


def paint(
    bundle: Bundle, opener: Callable[[str], Session], progress: Steps, side: int | None = None
) -> Picture:
    """The picture that is compared, (side, side, 3). One engine is open at a time: another
    precision's may follow in the same memory."""
    side = side or SIDE
    engines = Engines.of(bundle, Components((), opener, low_memory=True))
    steps = min(STEPS, bundle.manifest.defaults.steps)
    request = Request(landscape(side), PROMPT, Settings(seed=0, size=(side, side), steps=steps))
    for event in run(engines, request):
        if isinstance(event, Complete):
            return np.asarray(event.result.images[0], np.uint8)
        progress(event.index, event.total)
    raise AssertionError("a run ends in Complete or an error")


def part(progress: Steps | None, which: int, of: int) -> Steps:
    """Progress through one of several runs, the first being 0."""

    def steps(done: int, total: int) -> None:
        if progress is not None:
            progress(which * total + done, of * total)

    return steps


def _built(bundle: Bundle) -> float:
    if (record := read_record(bundle)) is None:
        raise SessionError(
            f"--precision int8: nothing was built for {bundle.folder} as it is; "
            f"overpaint build {bundle.folder} --engine openvino --precision int8"
        )
    return record.psnr_db
