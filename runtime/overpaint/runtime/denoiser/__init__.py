"""What predicts: a function of (x, row), composed of small parts between the loop and the engines.

    predict = EngineCalls(session, called, constants, schedule, x.shape, branches=2)
    denoiser = guided(predict, scale=7.5)
    for done in denoise(denoiser, x, schedule, draw=draw): ...

A part takes another and gives one of the same kind: guidance around an engine, a forecast that
answers instead of it, tiles that it is called for. The loop sees the outermost only. k-diffusion's
`model(x, sigma)` is the model for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from overpaint.runtime.schedule import Row

Array: TypeAlias = NDArray[np.floating[Any]]

Denoiser: TypeAlias = Callable[[Array, Row], Array]
"""(latents x (B,C,h,w) as the loop has them, row) -> the prediction m, (B,C,h,w). x is not changed;
m may be a buffer that the next call overwrites."""

Branches: TypeAlias = Callable[[Array, Row], Array]
"""The same, but guidance is still open: (2,B,C,h,w) with the negative one first; (1,B,C,h,w), the
positive one alone, where guidance is off or does not act in this row."""
