"""diffusers' AutoencoderKL: how its latents are scaled, and how coarse they are."""

from __future__ import annotations

from overpaint.bundle.errors import CheckpointError
from overpaint.bundle.facts import Config, Latents

from .config_fields import DenoiserFields, VaeFields, read_fields


def latents(vae: Config, denoiser: Config) -> Latents:
    """The VAE's scale; a denoiser's patches make the picture's sides coarser.

    Raises:
        CheckpointError: the denoiser takes more than latents.
    """
    ours = read_fields(vae, VaeFields, "the VAE's config")
    theirs = read_fields(denoiser, DenoiserFields, "the denoiser's config")
    downscale, channels = 2 ** (len(ours.block_out_channels) - 1), ours.latent_channels
    if theirs.in_channels not in (None, channels):
        raise CheckpointError(
            f"the denoiser's config: in_channels: expected the VAE's {channels}, got "
            f"{theirs.in_channels}: an inpainting or editing checkpoint, which image-to-image "
            "cannot use"
        )
    mean, std = ours.latents_mean, ours.latents_std
    return Latents(
        channels=channels,
        downscale=downscale,
        multiple=downscale * theirs.patch_size,
        scaling=ours.scaling_factor,
        shift=ours.shift_factor or 0.0,
        mean=tuple(mean) if mean and std else None,
        std=tuple(std) if mean and std else None,
    )
