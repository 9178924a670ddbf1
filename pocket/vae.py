"""The autoencoder: 128x128 pictures to 32x32x4 latents and back."""

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pocket.loop import Batch

WIDTHS = (32, 64, 96)
LATENT_CHANNELS = 4
KL_WEIGHT = 3e-4
EDGE_WEIGHT = 0.5


def new_vae(widths: tuple[int, ...] = WIDTHS) -> AutoencoderKL:
    """AutoencoderKL with f=4. No attention in the middle: crops and whole pictures agree, and
    the engines meet nothing that costs more than linearly in the size."""
    return AutoencoderKL(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=128,
    )


def edge_loss(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of horizontal and vertical gradients at three scales."""
    total = a.new_zeros(())
    for scale in range(3):
        if scale:
            a, b = functional.avg_pool2d(a, 2), functional.avg_pool2d(b, 2)
        d = a - b
        total = total + d.diff(dim=-1).abs().mean() + d.diff(dim=-2).abs().mean()
    return total


def loss(vae: nn.Module, pixels: Tensor, noise: Tensor) -> dict[str, Tensor]:
    """L1 (also of the coarse colours), edges and a light KL. `pixels` (B, 3, H, W) in [-1, 1];
    `noise` like the latents."""
    assert isinstance(vae, AutoencoderKL)
    moments = vae._encode(pixels).float()
    mean, logvar = moments.chunk(2, dim=1)
    logvar = logvar.clamp(-30.0, 20.0)
    decoded = vae._decode(mean + (0.5 * logvar).exp() * noise).sample.float()
    l1, edges = functional.l1_loss(decoded, pixels), edge_loss(decoded, pixels)
    coarse = functional.avg_pool2d(decoded - pixels, 8).abs().mean()
    square = functional.mse_loss(decoded, pixels)
    kl = 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).mean()
    total = l1 + coarse + square + EDGE_WEIGHT * edges + KL_WEIGHT * kl
    return {"loss": total, "l1": l1, "coarse": coarse, "edges": edges, "mse": square, "kl": kl}


def batch(
    pictures: NDArray[np.uint8], rng: np.random.Generator, device: torch.device, done: float
) -> Batch:
    """Crops of 64 pixels for most of the time, then whole pictures (`done`: share of the budget).

    The whole pictures come last because group normalisation sees other statistics in a crop.
    """
    size, count = (64, 8) if done < 0.4 else (128, 3)
    rows = np.sort(rng.choice(len(pictures), count, replace=False))
    crops = np.empty((count, size, size, 3), np.uint8)
    for k, row in enumerate(rows):
        top, left = rng.integers(0, 128 - size + 1, 2)
        crop = pictures[row, top : top + size, left : left + size]
        crops[k] = crop[:, ::-1] if rng.uniform() < 0.5 else crop
    pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1.0
    noise = rng.standard_normal((count, LATENT_CHANNELS, size // 4, size // 4), np.float32)
    return pixels.to(device), torch.from_numpy(noise).to(device)
