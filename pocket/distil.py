"""The few-step student: the trained denoiser, taught to say the finished picture at once.

The painter paints a place twice, so what a run should end in is known, and no second network's
trajectory is needed: from a picture under noise, at any strength, the student predicts the latents
of the caption's picture. They are judged by their distance to the painter's own, edges included,
and by a critic where noise has hidden what the place looked like (adversarial distillation: Sauer
et al., 2023).

Three kinds of inputs, those that samplers meet:

- the first step of a run: a picture, noised to the strength's time;
- a later step that keeps its noise (DPM++, DDIM, TCD): see `pocket.pairs`;
- a later step that draws anew (LCM; Luo et al., 2023): the student's own prediction, noised to an
  earlier time (Yin et al., 2024).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from pocket.adversary import Critic, fooled, judged
from pocket.captions import caption
from pocket.denoiser import BETAS, drawn, labels_of, moments_of, tokenize
from pocket.loop import Batch
from pocket.pairs import must_name, obedience, pair
from pocket.scene import Scene
from pocket.vae import edge_loss

BATCH = 12
AGAIN = 3
"""Pictures of a batch that are second steps from the student's own prediction."""
CARRIED = 3
"""Pictures of a batch that are later steps with their noise kept."""
ALONE = 2
"""Pictures of a batch whose caption says what they show already, or nothing."""
THING_NAMED = 0.4
"""A prompt for a picture seldom names what the picture shows: it stays, unnamed."""
FIRST = 20.0, 450.0, 999.0
"""Times at which runs begin: least, likeliest, most. In the middle a picture is half hidden."""
EDGE_WEIGHT = 0.5
CRITIC_WEIGHT = 0.03
SCHEDULE = DDPMScheduler(num_train_timesteps=1000, **BETAS)


class Student(nn.Module):
    """The denoiser and its critic, which one optimiser trains."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.unet = unet
        self.critic = Critic()


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Moments (N, 8, 32, 32) of scene i in row i, and of its counterpart for the first rows: as
    runs start from them, and as runs end in them, where that is another style. The text encoder
    stays as it is."""

    moments: NDArray[np.float16]
    counterparts: NDArray[np.float16]
    ends: tuple[NDArray[np.float16], NDArray[np.float16]] | None = None
    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModel
    device: torch.device


Denoiser = Callable[[Tensor, Tensor, Tensor], Any]
"""(noisy latents, times, context) -> what has the predicted noise as `sample`: a UNet, steered or
not."""


def loss(student: nn.Module, *parts: Tensor) -> dict[str, Tensor]:
    """`judged_ends` of the student's own network."""
    assert isinstance(student, Student)
    return judged_ends(student.unet, student.critic, *parts)


def judged_ends(
    unet: Denoiser,
    critic: Critic,
    noisy: Tensor,
    times: Tensor,
    second: Tensor,
    fresh: Tensor,
    context: Tensor,
    certain: Tensor,
    ends: Tensor,
    labels: Tensor,
) -> dict[str, Tensor]:
    """Distance of the predicted latents to the painter's, as far as the noise has left it `certain`
    (B,) what these are, and the critic's opinion.

    `noisy`, `ends` (B, 4, 32, 32); `times` (B,) whole numbers in [0, 1000); `context` (B, 32, 128);
    `labels` (B, 5). The first `len(second)` are stepped from once, and noised with `fresh` to the
    time `second`.
    """
    again = len(second)
    with torch.no_grad():
        guess = predicted(unet, noisy[:again], times[:again], context[:again])
        signal, deviation = levels(second)
        noisy = torch.cat([signal * guess + deviation * fresh, noisy[again:]])
        times = torch.cat([second, times[again:]])
    made = predicted(unet, noisy, times, context)
    share = certain[:, None, None, None]
    l1, edges = (share * (made - ends)).abs().mean(), edge_loss(share * made, share * ends)
    fool = fooled(critic, made, labels)
    judge = judged(critic, ends, made, labels)
    total = l1 + EDGE_WEIGHT * edges + CRITIC_WEIGHT * fool + judge
    return {"loss": total, "l1": l1, "edges": edges, "fool": fool, "judge": judge}


def predicted(unet: Denoiser, noisy: Tensor, times: Tensor, context: Tensor) -> Tensor:
    """The finished picture's latents that the network believes in."""
    signal, deviation = levels(times)
    noise = unet(noisy, times, context).sample.float()
    return (noisy - deviation * noise) / signal


def levels(times: Tensor) -> tuple[Tensor, Tensor]:
    """Signal and noise at whole times, each (B, 1, 1, 1)."""
    kept = SCHEDULE.alphas_cumprod.to(times.device)[times][:, None, None, None]
    return kept.sqrt(), (1 - kept).sqrt()


def batch(data: Data, rng: np.random.Generator, done: float) -> Batch:
    """What `loss` takes of some places."""
    return noised(data, places(data, rng), rng)


Places = tuple[NDArray[np.int64], NDArray[np.bool_]]
"""Rows, and whether a run ends in the counterpart's own scene and starts from the counterpart."""


def places(data: Data, rng: np.random.Generator) -> Places:
    """A batch of them."""
    rows = rng.choice(len(data.counterparts), BATCH, replace=False)
    return rows, rng.uniform(size=BATCH) < 0.5


def noised(data: Data, some: Places, rng: np.random.Generator) -> Batch:
    """Pairs under noise: the first `AGAIN` with a second time, `CARRIED` more later on their way,
    the last `ALONE` ending where they start."""
    rows, swapped = some
    first = rng.triangular(*FIRST, BATCH)
    obeyed = rng.uniform(size=BATCH) < obedience(first)
    obeyed[-ALONE:] = False
    texts, labels = [], []
    for k, row in enumerate(rows):
        goal, start = pair(int(row), bool(swapped[k]))
        texts.append(_prompt(goal, start, rng) if k < BATCH - ALONE else _said(start, rng))
        labels.append(labels_of(goal if obeyed[k] else start))
    begun = data.moments, data.counterparts
    here, there = (moments_of(of, rows) for of in begun)
    starts = drawn(_chosen(~swapped, there, here), rng)
    here, there = (moments_of(of, rows) for of in data.ends or begun)
    ends = _chosen(swapped == obeyed, there, here).chunk(2, dim=1)[0]

    times = first.copy()
    times[AGAIN : AGAIN + CARRIED] *= rng.uniform(size=CARRIED) ** 0.4
    second = first[:AGAIN] * rng.uniform(size=AGAIN)
    signal, deviation = levels(_whole(first))
    ratio, certain = signal / deviation, signal[:, 0, 0, 0]
    white = torch.from_numpy(rng.standard_normal(starts.shape, np.float32))
    signal, deviation = levels(_whole(times))
    noisy = signal * ends + deviation * (white + ratio * (starts - ends))
    fresh = torch.from_numpy(rng.standard_normal(starts[:AGAIN].shape, np.float32))
    with torch.no_grad():
        ids = tokenize(data.tokenizer, texts).to(data.device)
        context = data.text_encoder(ids).last_hidden_state
    parts = (noisy, _whole(times), _whole(second), fresh, context, certain, ends)
    return tuple(part.to(data.device) for part in (*parts, torch.tensor(labels)))


def _prompt(goal: Scene, start: Scene, rng: np.random.Generator) -> str:
    """A caption that names what changes and, more often than not, not what stays."""
    return caption(goal, rng, must_name(goal, start), thing_named=THING_NAMED)


def _said(scene: Scene, rng: np.random.Generator) -> str:
    """A caption of what is there, or no word."""
    return caption(scene, rng) if rng.uniform() < 0.6 else ""


def _chosen(which: NDArray[np.bool_], yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(torch.from_numpy(which)[:, None, None, None], yes, no)


def _whole(times: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(times.astype(np.int64))
