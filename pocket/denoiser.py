"""The denoiser and its text encoder, trained together: epsilon prediction with dropped captions."""

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from pocket.captions import caption
from pocket.loop import Batch
from pocket.pairs import must_name, obedience, pair
from pocket.scene import LANDS, SEASONS, STYLES, THINGS, TIMES, Scene, random_scene
from pocket.tokenizer import LENGTH
from pocket.vae import LATENT_CHANNELS

WIDTHS = (64, 96, 128)
TEXT_WIDTH = 128
DROPPED = 0.1
"""Share of captions replaced by the empty prompt, for classifier-free guidance (Ho and
Salimans, 2022)."""
LOW = {1: 1.4, 2: 1.0, 4: 0.6}
"""Deviation of the noise that is added to the white noise on coarse grids of so many cells a side.

White noise never hides a palette: over a thousand cells its mean is nearly nothing, so the model
would read season and time off the picture and leave the caption unread, at any strength. With
noise in the low frequencies too, a palette that contradicts the caption looks like noise, and is
taken away, while the outlines stay (offset noise: Guttenberg, 2023; on several grids, or pyramid
noise: Whitaker, 2023)."""
SNR_CAP = 5.0
"""Min-SNR weighting (Hang et al., 2023)."""
CLASSES = (len(SEASONS), len(TIMES), len(LANDS), len(THINGS), len(STYLES))
HEADS_WEIGHT = 0.2
"""Weight of reading a scene's five properties off the caption's last tokens. Left to the denoising
loss alone, the text encoder learnt seasons and forgot times of day: those show in the outlines'
contrast, which no smooth noise hides. The heads are not part of the checkpoint."""
CAPTIONS = 64
"""Captions in a step: those of the batch, and more for the heads alone."""
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
        self.heads = nn.Linear(TEXT_WIDTH, sum(CLASSES))


def loss(
    model: nn.Module,
    latents: Tensor,
    noise: Tensor,
    timesteps: Tensor,
    ids: Tensor,
    labels: Tensor,
) -> dict[str, Tensor]:
    """Weighted squared error of the predicted noise, and the heads' error. `latents`, `noise`
    (B, 4, 32, 32); `timesteps` (B,) in [0, 1000); `ids` (N, 32) and `labels` (N, 5), N >= B."""
    assert isinstance(model, Denoiser)
    schedule = DDPMScheduler(num_train_timesteps=1000, **BETAS)
    noisy = schedule.add_noise(latents, noise, timesteps)
    context = model.text_encoder(ids).last_hidden_state
    predicted = model.unet(noisy, timesteps, context[: len(latents)]).sample.float()
    error = (predicted - noise).square().mean(dim=(1, 2, 3))
    kept = schedule.alphas_cumprod.to(latents.device)[timesteps]
    snr = kept / (1 - kept)
    weighted = (error * snr.clamp(max=SNR_CAP) / snr).mean()
    read = heads_loss(model, ids, context, labels)
    return {
        "loss": weighted + HEADS_WEIGHT * read,
        "weighted": weighted,
        "mse": error.mean(),
        "heads": read,
    }


def heads_loss(model: Denoiser, ids: Tensor, context: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of a scene's properties, from the mean context of the end tokens."""
    ends = (ids == ids.max()).unsqueeze(-1).to(context.dtype)
    scores = model.heads((context * ends).sum(1) / ends.sum(1)).float().split(CLASSES, dim=1)
    errors = [functional.cross_entropy(score, labels[:, k]) for k, score in enumerate(scores)]
    return torch.stack(errors).sum()


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Moments (N, 8, 32, 32) of scene i in row i, and of its counterpart for the first rows."""

    moments: NDArray[np.float16]
    counterparts: NDArray[np.float16]
    tokenizer: CLIPTokenizer
    device: torch.device


def batch(data: Data, rng: np.random.Generator, done: float) -> Batch:
    """Scenes with fresh captions, fresh posterior noise, fresh diffusion noise and times; half of
    them starting from their counterpart. Small batches while there is much to learn, larger ones
    (`done`: share of the budget) later."""
    count = 16 if done < 0.85 else 32
    half = count // 2
    rows = rng.choice(len(data.moments), half, replace=False)
    latents = drawn(moments_of(data.moments, rows), rng)
    # an even spread over each batch, with more of the early times, where the caption decides
    spread = (np.arange(half) + rng.uniform(size=half)) / half
    times = 1000 * rng.permutation(spread**0.7)
    timesteps = torch.from_numpy(times.astype(np.int64))
    noise = pyramid_noise(rng, obedience(times), latents.shape[-1])
    scenes = [random_scene(int(row)) for row in rows]
    texts = ["" if rng.uniform() < DROPPED else caption(scene, rng) for scene in scenes]

    goals, goal_noise, goal_times, goal_scenes, goal_texts = _pairs(data, rng, count - half)
    scenes, texts = scenes + goal_scenes, texts + goal_texts
    more = [random_scene(int(k)) for k in rng.integers(10**6, size=CAPTIONS - count)]
    labels = torch.tensor([labels_of(scene) for scene in scenes + more])
    ids = tokenize(data.tokenizer, texts + [caption(scene, rng) for scene in more])
    parts = (
        torch.cat([latents, goals]),
        torch.cat([noise, goal_noise]),
        torch.cat([timesteps, goal_times]),
        ids,
        labels,
    )
    return tuple(part.to(data.device) for part in parts)


def _pairs(
    data: Data, rng: np.random.Generator, count: int
) -> tuple[Tensor, Tensor, Tensor, list[Scene], list[str]]:
    """Latents of scenes to end in, the noise that holds what a run starts from (`pocket.pairs`),
    times after the start, the captions' scenes, and captions that name what changes. Runs from
    a small strength end where they start."""
    rows = rng.choice(len(data.counterparts), count, replace=False)
    swapped = rng.uniform(size=count) < 0.5
    scenes, texts = [], []
    for row, swap in zip(rows, swapped, strict=True):
        goal, start = pair(int(row), bool(swap))
        scenes.append(goal)
        texts.append(caption(goal, rng, must_name(goal, start)))
    here, there = (drawn(moments_of(of, rows), rng) for of in (data.moments, data.counterparts))
    swap_all = torch.from_numpy(swapped)[:, None, None, None]
    goals, starts = torch.where(swap_all, there, here), torch.where(swap_all, here, there)
    first = rng.uniform(50, 980, count)
    obeyed = torch.from_numpy(rng.uniform(size=count) < obedience(first))[:, None, None, None]
    goals = torch.where(obeyed, goals, starts)
    kept = DDPMScheduler(num_train_timesteps=1000, **BETAS).alphas_cumprod[first.astype(int)]
    ratio = (kept / (1 - kept)).sqrt()[:, None, None, None]
    white = torch.from_numpy(rng.standard_normal(goals.shape, np.float32))
    times = torch.from_numpy((first * rng.uniform(size=count) ** 0.4).astype(np.int64))
    return goals, white + ratio * (starts - goals), times, scenes, texts


def moments_of(stored: NDArray[np.float16], rows: NDArray[np.int64]) -> Tensor:
    """Rows of the stored moments, (B, 8, 32, 32) float32."""
    return torch.from_numpy(stored[rows].astype(np.float32))


def drawn(moments: Tensor, rng: np.random.Generator) -> Tensor:
    """A sample of each posterior, (B, 4, 32, 32), of its means and deviations."""
    mean, std = moments.chunk(2, dim=1)
    return mean + std * torch.from_numpy(rng.standard_normal(mean.shape, np.float32))


def labels_of(scene: Scene) -> tuple[int, ...]:
    """A scene's five properties as numbers."""
    return (
        SEASONS.index(scene.season),
        TIMES.index(scene.time),
        LANDS.index(scene.land),
        THINGS.index(scene.thing),
        STYLES.index(scene.style),
    )


def pyramid_noise(rng: np.random.Generator, smooth: NDArray[np.float64], size: int) -> Tensor:
    """(B, 4, size, size): white noise, and smooth noise on the grids of `LOW`, as much of it for
    each picture as `smooth` (B,) says, 0 to 1."""
    shape = len(smooth), LATENT_CHANNELS
    share = torch.from_numpy(smooth.astype(np.float32))[:, None, None, None]
    noise = torch.from_numpy(rng.standard_normal((*shape, size, size), np.float32))
    for cells, deviation in LOW.items():
        grid = torch.from_numpy(rng.standard_normal((*shape, cells, cells), np.float32))
        noise += share * deviation * functional.interpolate(grid, (size, size), mode="bilinear")
    return noise


def tokenize(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """(B, 32) token ids, padded and cut to length."""
    out = tokenizer(
        texts, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt"
    )
    ids = out["input_ids"]
    assert isinstance(ids, Tensor)
    return ids
