"""The small autoencoder: the same latents in a third of the time.

The first autoencoder's latents are what the denoiser learns, so a narrower one is taught to write
and to read them (TAESD: Bohan, 2023): its encoder repeats the first one's posterior, its decoder
paints the picture from a sample of it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pocket.denoiser import drawn, moments_of
from pocket.latents import to_pixels
from pocket.loop import Batch
from pocket.vae import edge_loss, new_vae

WIDTHS = (16, 32, 48)
BATCH = 6
EDGE_WEIGHT = 1.0
LATENT_WEIGHT = 1.0
SPREAD_WEIGHT = 0.02
ASTRAY = 0.15
"""Deviation, at most, of the noise added to the latents of half the pictures: a denoiser's latents
are never quite a picture's."""


def new_small_vae() -> AutoencoderKL:
    return new_vae(WIDTHS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Pictures, and the first autoencoder's moments of each, (N, 8, 32, 32)."""

    pictures: NDArray[np.uint8]
    moments: NDArray[np.float16]
    device: torch.device


def loss(vae: nn.Module, pixels: Tensor, moments: Tensor, latents: Tensor) -> dict[str, Tensor]:
    """Errors of both halves: `pixels` (B, 3, H, W) in [-1, 1] to `moments` (B, 8, H/4, W/4), means
    and deviations; `latents` (B, 4, H/4, W/4) to `pixels`."""
    assert isinstance(vae, AutoencoderKL)
    mean, logvar = vae._encode(pixels).float().chunk(2, dim=1)
    true_mean, true_std = moments.chunk(2, dim=1)
    repeated = functional.mse_loss(mean, true_mean)
    spread = functional.mse_loss(logvar, 2 * true_std.clamp(min=1e-6).log())
    decoded = vae._decode(latents).sample.float()
    errors = picture_errors(decoded, pixels)
    total = errors["loss"] + LATENT_WEIGHT * repeated + SPREAD_WEIGHT * spread
    return errors | {"loss": total, "latents": repeated, "spread": spread}


def picture_errors(decoded: Tensor, pixels: Tensor) -> dict[str, Tensor]:
    """Named distances of pictures (B, 3, H, W) in [-1, 1], and their weighted sum as "loss"."""
    l1, edges = functional.l1_loss(decoded, pixels), edge_loss(decoded, pixels)
    coarse = functional.avg_pool2d(decoded - pixels, 8).abs().mean()
    square = functional.mse_loss(decoded, pixels)
    total = l1 + coarse + square + EDGE_WEIGHT * edges
    return {"loss": total, "l1": l1, "coarse": coarse, "edges": edges, "mse": square}


def batch(data: Data, rng: np.random.Generator, done: float) -> Batch:
    """Whole pictures, their moments, and latents drawn from these, half of them led astray."""
    rows = np.sort(rng.choice(len(data.moments), BATCH, replace=False))
    moments = moments_of(data.moments, rows)
    latents = drawn(moments, rng)
    astray = ASTRAY * rng.uniform(-1, 1, (BATCH, 1, 1, 1)).clip(0).astype(np.float32)
    latents += torch.from_numpy(astray * rng.standard_normal(latents.shape, np.float32))
    parts = to_pixels(data.pictures[rows], data.device), moments, latents
    return tuple(part.to(data.device) for part in parts)
