"""How near two pictures are."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


def psnr(picture: npt.NDArray[np.uint8], reference: npt.NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio of two 8-bit pictures in dB; infinite if they are the same."""
    error = float(np.mean(np.square(picture.astype(np.float64) - reference)))
    return 10 * math.log10(255**2 / error) if error else math.inf
