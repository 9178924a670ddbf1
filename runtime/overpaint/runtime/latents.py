"""Moments -> latents -> what the VAE decoder takes; and a cheap look at latents on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from overpaint.bundle.facts import Latents

Array = npt.NDArray[np.float32]


MIN_LOGVAR: Final = -30.0
MAX_LOGVAR: Final = 20.0


def moments(outputs: Mapping[str, npt.NDArray[Any]]) -> Array:
    """What the VAE encoder puts out -> the posterior's moments (B,2C,h,w), a copy; or latents
    (B,C,h,w), where a family takes nothing else of the posterior.

    An encoder that samples inside its graph (early exports of optimum's) gives a `latent_sample`,
    which is taken for a posterior without width.
    """
    for name in ("latent_parameters", "latents"):
        if name in outputs:
            return np.array(outputs[name], np.float32)
    sample = np.asarray(outputs["latent_sample"], np.float32)
    return np.concatenate([sample, np.full_like(sample, MIN_LOGVAR)], axis=1)


def has_width(moments: npt.NDArray[Any], latents: Latents) -> bool:
    """Whether these are moments, of which a sample is drawn."""
    return bool(moments.shape[1] == 2 * latents.channels)


def encode(moments: npt.NDArray[Any], noise: Array, latents: Latents) -> Array:
    """The VAE encoder's moments (B,2C,h,w) -> latents z (B,C,h,w) of the diffusion model.

    A sample of the posterior, mean + exp(logvar/2)·noise with logvar clipped to [-30, 20]
    (Kingma & Welling 2013; diffusers' DiagonalGaussianDistribution), shifted and scaled.
    """
    mean, logvar = np.split(moments.astype(np.float32, copy=False), 2, axis=1)
    deviation = np.exp(np.float32(0.5) * np.clip(logvar, MIN_LOGVAR, MAX_LOGVAR))
    return scaled(mean + deviation * noise, latents)


def scaled(sample: Array, latents: Latents) -> Array:
    """A sample (B,C,h,w) of the posterior as the diffusion model has it."""
    offset, factor = _affine(latents)
    return np.asarray((sample - offset) * factor, np.float32)


def resized(z: Array, cells: tuple[int, int]) -> Array:
    """Latents (B,C,h,w) stretched to `cells` (h,w), bilinearly, without smoothing where they
    shrink: AUTOMATIC1111's "latent upscale", torch's `interpolate` without `align_corners`."""
    for axis, length in zip((2, 3), cells, strict=True):
        own = z.shape[axis]
        at = ((np.arange(length) + 0.5) * (own / length) - 0.5).clip(0, own - 1)
        low = at.astype(np.intp)
        share = np.float32(at - low).reshape(-1, *[1] * (3 - axis))
        below, above = z.take(low, axis), z.take(np.minimum(low + 1, own - 1), axis)
        z = below + (above - below) * share
    return np.ascontiguousarray(z)


def decode(z: Array, latents: Latents) -> Array:
    """Latents (B,C,h,w) -> the VAE decoder's input: the inverse of `encode`'s scaling."""
    offset, factor = _affine(latents)
    return np.asarray(z / factor + offset, np.float32)


def preview(x0: Array, factors: tuple[tuple[float, ...], ...] | None) -> Image.Image:
    """Latents (C,h,w) -> a small RGB image of (h,w) pixels, with no decoder run.

    `factors` is the bundle's linear map: a row of red, green, blue in [-1,1] for each latent
    channel, and if there is one row more, an offset. Without factors: the first channel in grey.
    """
    if factors is None:
        low, high = np.percentile(x0[0], (1, 99))
        rgb = np.repeat(((x0[0] - low) / max(float(high - low), 1e-6))[..., None], 3, axis=2)
    else:
        table = np.asarray(factors, np.float32)
        offset = table[len(x0)] if len(table) > len(x0) else np.float32(0)
        rgb = (np.tensordot(x0, table[: len(x0)], axes=(0, 0)) + offset) * 0.5 + 0.5
    return Image.fromarray(np.rint(np.nan_to_num(rgb.clip(0, 1)) * 255).astype(np.uint8))


def _affine(latents: Latents) -> tuple[Any, Any]:
    """(offset, factor) of z = (sample - offset) · factor, per channel where the bundle says so."""
    if latents.mean is None or latents.std is None:
        return np.float32(latents.shift), np.float32(latents.scaling)
    mean, std = (np.asarray(one, np.float32)[:, None, None] for one in (latents.mean, latents.std))
    return mean, np.float32(latents.scaling) / std
