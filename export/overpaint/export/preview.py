"""A linear map from latents to colours, fitted to the VAE's own decoder.

A decoder is far from linear, but a latent cell's average colour nearly is: enough to watch a run
by, for a thousandth of a decode.
"""

from __future__ import annotations

from typing import Any

import torch

from overpaint.engines.manifest import Latents

_COARSE = 6
_FINE = 12


def preview_factors(vae: Any, latents: Latents) -> tuple[tuple[float, ...], ...]:
    """A row of red, green, blue (in [-1, 1]) for each channel of the latents, and one of offsets.

    Least squares over decoded random latents that are smooth, as pictures mostly are.
    """
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(4, latents.channels, _COARSE, _COARSE, generator=generator)
    z = torch.nn.functional.interpolate(coarse, _FINE, mode="bilinear")
    with torch.inference_mode():
        pixels = vae.decode(_decoder_input(z, latents)).sample
    colours = torch.nn.functional.avg_pool2d(pixels, latents.downscale)
    x = z.permute(0, 2, 3, 1).reshape(-1, latents.channels)
    x = torch.cat([x, torch.ones(len(x), 1)], dim=1).double()
    y = colours.permute(0, 2, 3, 1).reshape(-1, 3).double()
    factors = torch.linalg.lstsq(x, y).solution
    return tuple(tuple(round(value, 6) for value in row) for row in factors.tolist())


def _decoder_input(z: torch.Tensor, latents: Latents) -> torch.Tensor:
    if latents.mean is None or latents.std is None:
        return z / latents.scaling + latents.shift
    mean, std = (torch.tensor(v)[:, None, None] for v in (latents.mean, latents.std))
    return z * std / latents.scaling + mean
