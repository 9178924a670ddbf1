"""Stable Diffusion XL's base: two CLIPs, of which the second is pooled too."""

from __future__ import annotations

from typing import Final

from overpaint.bundle import layout
from overpaint.bundle.facts import Components, Configs, Defaults, Text

from . import autoencoder, single_files
from .config_fields import IndexFields, read_fields
from .encoders import last_but_one_of_clip
from .family import Controlled, Encoder, Family
from .unet import PREDICTIONS, TURBO, UNET, text_encoders


def _recognises(components: Components) -> bool:
    return text_encoders(components) == {"text_encoder", "text_encoder_2"}


def text_of(configs: Configs) -> Text:
    """The text of base and refiner alike, of the encoders that are there."""
    index = read_fields(configs.index, IndexFields, layout.MODEL_INDEX)
    return Text(
        encoders=tuple(
            last_but_one_of_clip(configs, component, pooled=component == "text_encoder_2")
            for component in ("text_encoder", "text_encoder_2")
            if component in configs.components
        ),
        zeros_for_absent_negative=index.force_zeros_for_empty_prompt,
        aesthetic_score=index.requires_aesthetics_score,
    )


FAMILY: Final = Family(
    name="sdxl",
    title="Stable Diffusion XL",
    recognises=_recognises,
    controlled=Controlled(text_time=True),
    denoiser=UNET,
    predictions=PREDICTIONS,
    encoders=(Encoder("text_encoder"), Encoder("text_encoder_2", pooled=True)),
    latents=autoencoder.latents,
    text=text_of,
    defaults=Defaults(steps=50, guidance_scale=5.0, strength=0.3),
    turbo=TURBO,
    single_file={
        "unet": single_files.UNET,
        "vae": single_files.VAE,
        "text_encoder": single_files.clip("conditioner.embedders.0.transformer."),
        "text_encoder_2": single_files.openclip("conditioner.embedders.1.model."),
    },
)
