"""A sharper decoder: a critic of pixels says what a mean of absolute errors leaves blurred.

The latents stay what they are, and with them whatever was trained on them: only the decoder's half
of the small autoencoder learns, from latents of painted pictures, to paint what a patch
discriminator (Isola et al., 2017; for decoders: Esser et al., 2021) takes for the painter's.
"""

from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from pocket.adversary import fooled, judged
from pocket.small_vae import picture_errors

WIDTHS = (32, 64, 96)
CRITIC_WEIGHT = 0.1
"""At the last layer the critic's gradient is then a third of the distances'."""


class PixelCritic(nn.Module):
    """Pictures (B, 3, H, W) to scores (B, H/8, W/8): high for what the painter painted."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in WIDTHS:
            down = nn.Conv2d(channels, width, 4, stride=2, padding=1)
            layers += [spectral_norm(down), nn.LeakyReLU(0.2)]
            channels = width
        self.features = nn.Sequential(*layers)
        self.score = spectral_norm(nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, pixels: Tensor) -> Tensor:
        scores: Tensor = self.score(self.features(pixels))[:, 0]
        return scores


class Sharpened(nn.Module):
    """An autoencoder whose encoder is at rest, and the critic of what its decoder paints."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.vae = vae
        for half in (vae.encoder, vae.quant_conv):
            half.requires_grad_(False)
        self.critic = PixelCritic()


def loss(model: nn.Module, pixels: Tensor, moments: Tensor, latents: Tensor) -> dict[str, Tensor]:
    """`latents` (B, 4, H/4, W/4) decoded, by their distance to `pixels` (B, 3, H, W) in [-1, 1] and
    by the critic's opinion. `moments` are the encoder's, and not used."""
    assert isinstance(model, Sharpened)
    decoded = model.vae._decode(latents).sample.float()
    errors = picture_errors(decoded, pixels)
    fool = fooled(model.critic, decoded)
    judge = judged(model.critic, pixels, decoded)
    total = errors["loss"] + CRITIC_WEIGHT * fool + judge
    return errors | {"loss": total, "fool": fool, "judge": judge}
