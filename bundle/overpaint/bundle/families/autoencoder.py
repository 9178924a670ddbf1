"""diffusers' AutoencoderKL: how its latents are scaled, how coarse they are, and what denoisers
take beside them."""

from __future__ import annotations

from overpaint.bundle.errors import CheckpointError
from overpaint.bundle.facts import Config, Latents

from .config_fields import DenoiserFields, VaeFields, read_fields


def latents(vae: Config, denoiser: Config) -> Latents:
    """The VAE's scale; a denoiser's patches make the picture's sides coarser.

    Raises:
        CheckpointError: the denoiser takes neither latents alone, nor what inpainting checkpoints
            take.
    """
    ours = read_fields(vae, VaeFields, "the VAE's config")
    theirs = read_fields(denoiser, DenoiserFields, "the denoiser's config")
    downscale = 2 ** (len(ours.block_out_channels) - 1)
    mean, std = ours.latents_mean, ours.latents_std
    made = Latents(
        channels=ours.latent_channels,
        downscale=downscale,
        multiple=downscale * theirs.patch_size,
        scaling=ours.scaling_factor,
        shift=ours.shift_factor or 0.0,
        mean=tuple(mean) if mean and std else None,
        std=tuple(std) if mean and std else None,
    )
    _check_channels(theirs.in_channels, made)
    return made


def _check_channels(got: int | None, latents: Latents) -> None:
    channels, inpainting = latents.channels, latents.inpainting_channels
    if got in (None, channels, inpainting):
        return
    what = {
        2 * channels: ": an editing checkpoint, as InstructPix2Pix, which cannot be used",
        channels + 1: ": a checkpoint that is guided by depth, which cannot be used",
    }
    raise CheckpointError(
        f"the denoiser's config: in_channels: expected the VAE's {channels}, or {inpainting} of an "
        f"inpainting checkpoint, got {got}{what.get(got, '')}"
    )
