"""A level of fidelity only where a bundle's own pictures survive it: measured once, before it is
first used, on the engines that are open.

One picture is painted exactly and at the level, by the bundle's own defaults in `STEPS` steps at no
more than `SIDE`. The figure is kept in the user's cache folder; where there is none, each pipeline
measures anew. Parts that are asked for by themselves are not judged.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from overpaint.bundle.errors import UsageError
from overpaint.bundle.files.figures import figure_path, keep_figure, read_figure
from overpaint.bundle.format.bundle import Bundle

from .cancel import Cancel
from .engines import Engines
from .fidelity import EXACT, LEVELS
from .image.compare import psnr
from .precision_gate import PROMPT, landscape
from .prepare import image_sides
from .request import Request
from .result import Complete
from .run import run
from .settings import Settings

BARS_DB: Final[Mapping[str, float]] = {"balanced": 30.0, "draft": 25.0}
"""The least PSNR to the exact picture: bfloat16's bar, and that below which it is another one."""
STEPS: Final = 12
SIDE: Final = 256
_MOST_DB: Final = 99.0

_LOG = logging.getLogger(__name__)


def judge(engines: Engines, level: str, cancel: Cancel | None = None) -> float:
    """PSNR in dB of a picture at `level` to the exact one, measured or remembered.

    Raises:
        CancelledError: `cancel` says so meanwhile.
        UsageError: it is below the bar.
    """
    path = _path(engines.bundle, level)
    if (decibels := read_figure(path)) is None:
        _LOG.info("comparing fidelity %s with exact, once for this bundle", level)
        exact, less = (_paint(engines, one, cancel) for one in (EXACT, level))
        decibels = min(psnr(less, exact), _MOST_DB)
        keep_figure(path, decibels)
    if decibels < BARS_DB[level]:
        parts = LEVELS[level]
        raise UsageError(
            f"fidelity: pictures of {engines.bundle.folder} come out at {decibels:.1f} dB against "
            f"exact in {level}, and {BARS_DB[level]:g} is the least; leave fidelity out, or ask "
            f"for single parts, which are not judged (forecast {parts.forecast}, guidance_end "
            f"{parts.guidance_end:g})"
        )
    return decibels


def _paint(engines: Engines, level: str, cancel: Cancel | None) -> npt.NDArray[np.uint8]:
    sides = image_sides(engines.bundle.manifest)
    settings = Settings(
        seed=0,
        size=sides.nearest((SIDE, SIDE)),
        steps=STEPS,
        steps_mode="exact",
        fidelity=level,
    )
    for event in run(engines, Request(landscape(), PROMPT, settings), cancel):
        if isinstance(event, Complete):
            return np.asarray(event.result.images[0], np.uint8)
    raise AssertionError("a run ends in Complete or an error")


def _path(bundle: Bundle, level: str) -> Path | None:
    """Named by all that the figure depends on: the bundle's files, and what the level brings."""
    if bundle.inferred:  # no hashes to know it again by
        return None
    files = sorted(f"{file.sha256} {path}" for path, file in bundle.manifest.files.items())
    return figure_path("fidelity", (repr(LEVELS[level]), f"{STEPS} {SIDE}", *files))
