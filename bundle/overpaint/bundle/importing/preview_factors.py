"""A linear map from latents to colours, fitted to a bundle's own decoder: what a run is watched by.

A decoder is far from linear, but a latent cell's average colour nearly is: enough to watch a run
by, for a thousandth of a decode. Export and import fit it alike, to the graph that will be run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from overpaint.bundle import layout
from overpaint.bundle.arrays import Array
from overpaint.bundle.errors import MissingExtraError
from overpaint.bundle.facts import Latents
from overpaint.bundle.format.manifest import Component, Manifest

_PICTURES: Final = 4
_SIDE: Final = 12  # latent cells


Decode: TypeAlias = Callable[[Path, Component, Array], Array]
"""(graph of a VAE decoder, what the manifest says of it, latents (B,C,h,w)) -> pixels (B,3,H,W)."""


def fit_preview(
    folder: Path, manifest: Manifest, decode: Decode | None
) -> tuple[tuple[float, ...], ...] | None:
    """`preview_factors` of the decoder in `folder`, which `decode` runs.

    None without it, or where its engine is not installed: such a bundle previews in grey.
    """
    if decode is None:
        return None
    decoder = manifest.components[layout.VAE_DECODER]
    try:
        return preview_factors(
            manifest.latents, lambda latents: decode(folder / decoder.graph, decoder, latents)
        )
    except MissingExtraError:
        return None


def preview_factors(
    latents: Latents, decode: Callable[[Array], Array]
) -> tuple[tuple[float, ...], ...]:
    """A row of red, green, blue (in [-1, 1]) for each channel of the latents, and one of offsets.

    Least squares over decoded random latents that are smooth, as pictures mostly are. `decode`
    takes what the decoder takes, (B, C, h, w) float32, to pixels (B, 3, H, W) in [-1, 1].
    """
    z = _smooth(latents.channels)
    pixels = decode(_decoder_input(z, latents))
    cells = pixels.reshape(_PICTURES, 3, _SIDE, latents.downscale, _SIDE, latents.downscale)
    colours = cells.mean((3, 5)).transpose(0, 2, 3, 1).reshape(-1, 3)
    x = z.transpose(0, 2, 3, 1).reshape(-1, latents.channels)
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    factors, *_ = np.linalg.lstsq(x.astype(np.float64), colours.astype(np.float64), rcond=None)
    return tuple(tuple(round(float(value), 6) for value in row) for row in factors)


def _smooth(channels: int) -> Array:
    """Random latents of unit size, each cell half its neighbour's."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((_PICTURES, channels, _SIDE // 2, _SIDE // 2))
    for axis in (2, 3):
        z = z.repeat(2, axis)
        z = (z + np.roll(z, 1, axis)) / 2
    return np.asarray(z, np.float32)


def _decoder_input(z: Array, latents: Latents) -> Array:
    if latents.mean is None or latents.std is None:
        return np.asarray(z / latents.scaling + latents.shift, np.float32)
    mean, std = (np.asarray(one)[:, None, None] for one in (latents.mean, latents.std))
    return np.asarray(z * std / latents.scaling + mean, np.float32)
