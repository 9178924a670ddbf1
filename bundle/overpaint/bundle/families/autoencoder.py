"""diffusers' AutoencoderKL: how its latents are scaled, and how coarse they are."""

from __future__ import annotations

from overpaint.bundle.errors import CheckpointError
from overpaint.bundle.facts import Config, Latents


def latents(vae: Config, denoiser: Config) -> Latents:
    """The VAE's scale; a denoiser's patches make the picture's sides coarser.

    Raises:
        CheckpointError: the denoiser takes more than latents.
    """
    downscale, channels = 2 ** (len(vae["block_out_channels"]) - 1), vae["latent_channels"]
    taken = denoiser.get("in_channels", channels)
    if taken != channels:
        raise CheckpointError(
            f"the denoiser's config: in_channels: expected the VAE's {channels}, got {taken}: an "
            "inpainting or editing checkpoint, which image-to-image cannot use"
        )
    mean, std = vae.get("latents_mean"), vae.get("latents_std")
    return Latents(
        channels=channels,
        downscale=downscale,
        multiple=downscale * denoiser.get("patch_size", 1),
        scaling=vae.get("scaling_factor", 0.18215),
        shift=vae.get("shift_factor") or 0.0,
        mean=tuple(mean) if mean and std else None,
        std=tuple(std) if mean and std else None,
    )
