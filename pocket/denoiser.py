"""The denoiser and its text encoder, trained together: epsilon prediction with dropped captions."""

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from pocket.captions import caption
from pocket.loop import Batch
from pocket.scene import random_scene
from pocket.tokenizer import LENGTH
from pocket.vae import LATENT_CHANNELS

WIDTHS = (64, 96, 128)
TEXT_WIDTH = 128
DROPPED = 0.1
"""Share of captions replaced by the empty prompt, for classifier-free guidance (Ho and
Salimans, 2022)."""
LOW = {1: 0.6, 2: 0.5, 4: 0.35}
"""Deviation of the noise that is added to the white noise on coarse grids of so many cells a side.

White noise never hides a palette: over a thousand cells its mean is nearly nothing, so the model
would read season and time off the picture and leave the caption unread, at any strength. With
noise in the low frequencies too, a palette that contradicts the caption looks like noise, and is
taken away, while the outlines stay (offset noise: Guttenberg, 2023; on several grids, or pyramid
noise: Whitaker, 2023)."""
SNR_CAP = 5.0
"""Min-SNR weighting (Hang et al., 2023)."""
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


class Denoiser(nn.Module):
    """The two networks that one optimiser trains."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        # attention at 8x8 alone: a third of a step's time went into it at 16x16
        down = ("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D")
        up = ("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D")
        self.unet = UNet2DConditionModel(
            sample_size=32,
            in_channels=LATENT_CHANNELS,
            out_channels=LATENT_CHANNELS,
            block_out_channels=WIDTHS,
            down_block_types=down,
            up_block_types=up,
            layers_per_block=1,
            cross_attention_dim=TEXT_WIDTH,
            attention_head_dim=4,
            norm_num_groups=8,
        )
        text = CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=LENGTH,
            bos_token_id=vocabulary - 2,
            eos_token_id=vocabulary - 1,
            pad_token_id=vocabulary - 1,
        )
        self.text_encoder = CLIPTextModel(text)


def loss(
    model: nn.Module, latents: Tensor, noise: Tensor, timesteps: Tensor, ids: Tensor
) -> dict[str, Tensor]:
    """Weighted squared error of the predicted noise. `latents`, `noise` (B, 4, 32, 32);
    `timesteps` (B,) in [0, 1000); `ids` (B, 32)."""
    assert isinstance(model, Denoiser)
    schedule = DDPMScheduler(num_train_timesteps=1000, **BETAS)
    noisy = schedule.add_noise(latents, noise, timesteps)
    context = model.text_encoder(ids).last_hidden_state
    predicted = model.unet(noisy, timesteps, context).sample.float()
    error = (predicted - noise).square().mean(dim=(1, 2, 3))
    kept = schedule.alphas_cumprod.to(latents.device)[timesteps]
    snr = kept / (1 - kept)
    return {"loss": (error * snr.clamp(max=SNR_CAP) / snr).mean(), "mse": error.mean()}


def batch(
    moments: NDArray[np.float16],
    tokenizer: CLIPTokenizer,
    rng: np.random.Generator,
    device: torch.device,
    done: float,
) -> Batch:
    """Scenes with fresh captions, fresh posterior noise, fresh diffusion noise and times.

    Small batches while there is much to learn, larger ones (`done`: share of the budget) later.
    """
    count = 16 if done < 0.85 else 32
    rows = np.sort(rng.choice(len(moments), count, replace=False))
    drawn = torch.from_numpy(moments[rows].astype(np.float32))
    mean, std = drawn.chunk(2, dim=1)
    posterior = torch.from_numpy(rng.standard_normal(mean.shape, np.float32))
    noise = pyramid_noise(rng, count, mean.shape[-1])
    # one time from each of `count` equal slices of [0, 1000): an even spread in every batch
    slices = (np.arange(count) + rng.uniform(size=count)) / count * 1000
    timesteps = torch.from_numpy(rng.permutation(slices).astype(np.int64))
    texts = [
        "" if rng.uniform() < DROPPED else caption(random_scene(int(row)), rng) for row in rows
    ]
    ids = tokenize(tokenizer, texts)
    parts = (mean + std * posterior, noise, timesteps, ids)
    return tuple(part.to(device) for part in parts)


def pyramid_noise(rng: np.random.Generator, count: int, size: int) -> Tensor:
    """(count, 4, size, size): white noise, and smooth noise on the grids of `LOW`."""
    shape = count, LATENT_CHANNELS
    noise = torch.from_numpy(rng.standard_normal((*shape, size, size), np.float32))
    for cells, deviation in LOW.items():
        grid = torch.from_numpy(rng.standard_normal((*shape, cells, cells), np.float32))
        noise += deviation * functional.interpolate(grid, size=(size, size), mode="bilinear")
    return noise


def tokenize(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """(B, 32) token ids, padded and cut to length."""
    out = tokenizer(
        texts, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt"
    )
    ids = out["input_ids"]
    assert isinstance(ids, Tensor)
    return ids
