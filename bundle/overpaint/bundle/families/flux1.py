"""FLUX.1: an MMDiT that goes on in one stream, flow matching, CLIP-L's pooled vector and T5."""

from __future__ import annotations

from typing import Final

from overpaint.bundle.checkpoint.original_names.flux import flux_source
from overpaint.bundle.checkpoint.original_names.text import t5_source
from overpaint.bundle.checkpoint.tensors import InSingleFile
from overpaint.bundle.errors import CheckpointError
from overpaint.bundle.facts import Components, Config, Configs, Defaults, Latents, Text

from . import autoencoder, single_files
from .config_fields import DenoiserFields, read_fields
from .encoders import pooled_clip, t5
from .family import Denoiser, Encoder, Family

T5_LENGTH: Final = 512
T5_LENGTH_OF_FEW_STEPS: Final = 256  # of schnell, by its authors' own code
PATCH: Final = 2
"""Cells that a token is wide and high. Its config does not say so: diffusers packs them outside of
the network, and the graph within."""


def _recognises(components: Components) -> bool:
    fields = {"num_single_layers", "pooled_projection_dim", "joint_attention_dim"}
    return fields <= set(components.get("transformer", {}))


def _fields(transformer: Config) -> DenoiserFields:
    return read_fields(transformer, DenoiserFields, "the denoiser's config")


def _few_steps(configs: Configs, name: str) -> bool:
    """Schnell is not told the guidance scale."""
    return not _fields(configs.components["transformer"]).guidance_embeds


def _text(configs: Configs) -> Text:
    length = T5_LENGTH_OF_FEW_STEPS if _few_steps(configs, "") else T5_LENGTH
    return Text(
        encoders=(
            pooled_clip(configs, "text_encoder"),
            t5(configs, "text_encoder_2", length),
        ),
        t5_length=length,
        t5_width=_fields(configs.components["transformer"]).joint_attention_dim,
    )


def _latents(vae: Config, transformer: Config) -> Latents:
    got, cells = _fields(transformer).in_channels or 0, PATCH * PATCH
    latents = autoencoder.latents(vae, {"patch_size": PATCH})
    if got != cells * latents.channels:
        raise CheckpointError(
            f"the denoiser's config: in_channels: expected {cells * latents.channels}, a patch of "
            f"the VAE's {latents.channels}, got {got}: a checkpoint that sees a second picture, as "
            "FLUX.1 Fill, Canny and Depth, which cannot be used"
        )
    return latents


FAMILY: Final = Family(
    name="flux1",
    title="FLUX.1",
    recognises=_recognises,
    denoiser=Denoiser(component="transformer", sample="hidden_states"),
    predictions=("flow",),
    encoders=(Encoder("text_encoder", pooled=True), Encoder("text_encoder_2", "t5")),
    latents=_latents,
    text=_text,
    # Dev's guidance is its authors' and FluxPipeline's: FluxImg2ImgPipeline has 7.
    defaults=Defaults(steps=28, guidance_scale=3.5, strength=0.6, distilled=True),
    turbo=Defaults(steps=4, guidance_scale=1.0, strength=0.6, distilled=True),
    is_turbo=_few_steps,
    single_file={
        "transformer": InSingleFile(single_files.DENOISER, lambda names: flux_source, ""),
        "vae": single_files.VAE._replace(or_prefix="vae."),
        "text_encoder": single_files.clip("text_encoders.clip_l.transformer."),
        "text_encoder_2": single_files.fixed("text_encoders.t5xxl.transformer.", t5_source),
    },
    rounding="up",
    even_sigmas=True,
)
