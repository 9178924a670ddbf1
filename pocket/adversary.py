"""A critic of latents: what squared and absolute errors forgive, blur, it does not.

A patch discriminator (Isola et al., 2017) in the latent space (Sauer et al., 2024, LADD), with
spectral normalization (Miyato et al., 2018), the logistic loss, and a projection of the scene's
properties (Miyato and Koyama, 2018). Both players stand in one loss, so that one optimiser and one
backward pass train them.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from pocket.denoiser import CLASSES
from pocket.vae import LATENT_CHANNELS

WIDTHS = (48, 96, 128)


class Critic(nn.Module):
    """Latents (B, 4, H, W) and a scene's properties (B, 5) to scores (B, H/8, W/8): high for what
    the painter painted."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = LATENT_CHANNELS
        for width in WIDTHS:
            same = nn.Conv2d(channels, width, 3, padding=1)
            down = nn.Conv2d(width, width, 4, stride=2, padding=1)
            for conv in (same, down):
                layers += [spectral_norm(conv), nn.LeakyReLU(0.2)]
            channels = width
        self.features = nn.Sequential(*layers)
        self.score = spectral_norm(nn.Conv2d(channels, 1, 3, padding=1))
        self.properties = spectral_norm(nn.Linear(sum(CLASSES), channels, bias=False))

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        seen = self.features(latents)
        said = [functional.one_hot(labels[:, k], count) for k, count in enumerate(CLASSES)]
        asked = self.properties(torch.cat(said, dim=1).to(seen.dtype))
        scores: Tensor = self.score(seen)[:, 0] + torch.einsum("bchw,bc->bhw", seen, asked)
        return scores


def fooled(critic: nn.Module, made: Tensor, *said: Tensor) -> Tensor:
    """What the maker of `made` minimises; the critic learns nothing from it. `said`: what else the
    critic is told of each."""
    with _held(critic):
        return functional.softplus(-critic(made, *said).float()).mean()


def judged(critic: nn.Module, real: Tensor, made: Tensor, *said: Tensor) -> Tensor:
    """What the critic minimises; the maker learns nothing from it."""
    twice = [torch.cat([one, one]) for one in said]
    scores = critic(torch.cat([real, made.detach()]), *twice).float()
    of_real, of_made = scores.chunk(2)
    return functional.softplus(-of_real).mean() + functional.softplus(of_made).mean()


@contextmanager
def _held(network: nn.Module) -> Iterator[None]:
    """Gradients flow through `network` and leave no mark on its weights."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)
