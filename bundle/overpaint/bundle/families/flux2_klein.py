"""FLUX.2 klein: FLUX.1's two kinds of blocks, latents of four cells as one, Qwen3; it looks at the
picture that is repainted, and at others."""

from __future__ import annotations

from typing import Final

from overpaint.bundle.checkpoint.original_names.flux2 import Flux2VaeNames, flux2_source
from overpaint.bundle.checkpoint.original_names.text import qwen3_source
from overpaint.bundle.checkpoint.tensors import InSingleFile
from overpaint.bundle.errors import CheckpointError
from overpaint.bundle.facts import Components, Config, Configs, Defaults, Latents, Text

from . import single_files
from .config_fields import DenoiserFields, VaeFields, read_fields
from .encoders import quarters_of_qwen3
from .family import Denoiser, Encoder, Family

LENGTH: Final = 512  # diffusers' max_sequence_length
PATCH: Final = 2
"""Cells of the VAE that a cell of the latents is wide and high."""


def _recognises(components: Components) -> bool:
    fields = {"timestep_guidance_channels", "num_single_layers", "joint_attention_dim"}
    return fields <= set(components.get("transformer", {}))


def _few_steps(configs: Configs, name: str) -> bool:
    return bool(configs.index.get("is_distilled"))


def _text(configs: Configs) -> Text:
    return Text(encoders=(quarters_of_qwen3(configs, "text_encoder", LENGTH),))


def _latents(vae: Config, transformer: Config) -> Latents:
    """The graphs of the VAE put cells together and scale them, by statistics among its weights."""
    ours = read_fields(vae, VaeFields, "the VAE's config")
    theirs = read_fields(transformer, DenoiserFields, "the denoiser's config")
    if theirs.guidance_embeds:
        raise CheckpointError(
            "the denoiser's config: guidance_embeds: a checkpoint that is told the guidance scale, "
            "as FLUX.2 dev, whose text encoder is Mistral; of FLUX.2 only klein can be used"
        )
    channels = PATCH**2 * ours.latent_channels
    if theirs.in_channels != channels:
        raise CheckpointError(
            f"the denoiser's config: in_channels: expected {channels}, {PATCH**2} cells of the "
            f"VAE's {ours.latent_channels}, got {theirs.in_channels}"
        )
    cell = PATCH * 2 ** (len(ours.block_out_channels) - 1)
    return Latents(channels=channels, downscale=cell, multiple=cell, scaling=1.0)


def _shift(tokens: int, steps: int) -> float:
    """Two lines through what was found to look well at 10 steps and at 200, and between them one in
    the steps (black-forest-labs/flux2, `sampling.py`, `compute_empirical_mu`)."""
    many = 0.00016927 * tokens + 0.45666666
    if tokens > 4300:
        return many
    few = 8.73809524e-05 * tokens + 1.89833333
    slope = (many - few) / 190.0
    return slope * steps + many - 200.0 * slope


FAMILY: Final = Family(
    name="flux2-klein",
    title="FLUX.2 klein",
    recognises=_recognises,
    denoiser=Denoiser(component="transformer", sample="hidden_states"),
    predictions=("flow",),
    encoders=(Encoder("text_encoder", "qwen3"),),
    latents=_latents,
    text=_text,
    # Flux2KleinPipeline's guidance: Flux2KleinInpaintPipeline has 8.
    defaults=Defaults(steps=50, guidance_scale=4.0, strength=0.8),
    turbo=Defaults(steps=4, guidance_scale=1.0, strength=0.8, distilled=True),
    is_turbo=_few_steps,
    single_file={
        "transformer": InSingleFile(single_files.DENOISER, lambda names: flux2_source, ""),
        "vae": InSingleFile(
            single_files.VAE.prefix, lambda names: Flux2VaeNames.of(names).source, "vae."
        ),
        "text_encoder": single_files.fixed("text_encoders.qwen3_4b.transformer.", qwen3_source),
    },
    rounding="up",
    even_sigmas=True,
    shift=_shift,
    mask_cells="middle",
)
