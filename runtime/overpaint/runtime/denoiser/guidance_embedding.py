"""Guidance as an input: denoisers distilled for it take the scale itself, embedded."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


def guidance_embedding(scale: float, width: int) -> npt.NDArray[np.float32]:
    """The scale as sines and cosines, (1,width) float32.

    w = g - 1, times 1000, at frequencies 10000^(-i/(width/2 - 1)) (Luo et al. 2023, "Latent
    Consistency Models", after Kingma et al.'s VDM; diffusers' get_guidance_scale_embedding).
    """
    half = width // 2
    frequencies = np.exp(
        np.arange(half, dtype=np.float32) * np.float32(-math.log(1e4) / (half - 1))
    )
    angles = np.float32((scale - 1) * 1000) * frequencies
    embedding = np.zeros((1, width), np.float32)
    embedding[0, :half], embedding[0, half : 2 * half] = np.sin(angles), np.cos(angles)
    return embedding
