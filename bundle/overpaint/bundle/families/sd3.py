"""Stable Diffusion 3 and 3.5: an MMDiT, flow matching, two CLIPs and T5 or none."""

from __future__ import annotations

from typing import Final

from overpaint.bundle.checkpoint.original_names.mmdit import MmditNames
from overpaint.bundle.checkpoint.original_names.text import clip_source, t5_source
from overpaint.bundle.checkpoint.source import IDENTITY, Source
from overpaint.bundle.checkpoint.tensors import InSingleFile
from overpaint.bundle.facts import Components, Configs, Defaults, Text

from . import autoencoder, single_files
from .config_fields import DenoiserFields, read_fields
from .encoders import T5_LENGTH, last_but_one_of_clip, t5
from .family import Controlled, Denoiser, Encoder, Family


def _recognises(components: Components) -> bool:
    transformer = components.get("transformer", {})
    return {"pooled_projection_dim", "caption_projection_dim"} <= set(transformer)


def _text(configs: Configs) -> Text:
    config = configs.components["transformer"]
    transformer = read_fields(config, DenoiserFields, "the denoiser's config")
    clips = [
        last_but_one_of_clip(configs, component, pooled=True)
        for component in ("text_encoder", "text_encoder_2")
        if component in configs.components
    ]
    behind = [t5(configs, "text_encoder_3")] if "text_encoder_3" in configs.components else []
    return Text(
        encoders=(*clips, *behind),
        t5_length=T5_LENGTH,
        t5_width=transformer.joint_attention_dim,
    )


def _unprojected_clip(name: str) -> Source:
    """The original code pools CLIP-L without a projection; diffusers has one, and makes it 1."""
    return IDENTITY if name == "text_projection.weight" else clip_source(name)


FAMILY: Final = Family(
    name="sd3",
    title="Stable Diffusion 3 or 3.5",
    recognises=_recognises,
    controlled=Controlled(transformer=True),
    denoiser=Denoiser(component="transformer", sample="hidden_states"),
    predictions=("flow",),
    encoders=(
        Encoder("text_encoder", pooled=True),
        Encoder("text_encoder_2", pooled=True),
        Encoder("text_encoder_3", "t5"),
    ),
    latents=autoencoder.latents,
    text=_text,
    defaults=Defaults(steps=50, guidance_scale=7.0, strength=0.6),
    # At 4 steps, any more strength starts from pure noise.
    turbo=Defaults(steps=4, guidance_scale=1.0, strength=0.75, distilled=True),
    single_file={
        "transformer": InSingleFile(
            single_files.DENOISER, lambda names: MmditNames.of(names).source
        ),
        "vae": single_files.VAE,
        "text_encoder": single_files.fixed("text_encoders.clip_l.transformer.", _unprojected_clip),
        "text_encoder_2": single_files.clip("text_encoders.clip_g.transformer."),
        "text_encoder_3": single_files.fixed("text_encoders.t5xxl.transformer.", t5_source),
    },
    optional=frozenset({"text_encoder_3"}),
    rounding="up",
)
