"""Stable Diffusion 1.x."""

from __future__ import annotations

from typing import Final

from overpaint.bundle.facts import Components, Configs, Defaults, Text

from . import autoencoder, single_files
from .encoders import last_of_clip
from .family import Controlled, Encoder, Family
from .unet import PREDICTIONS, TURBO, UNET, projects_with_matrices, text_encoders


def _recognises(components: Components) -> bool:
    return text_encoders(components) == {"text_encoder"} and not projects_with_matrices(components)


def _text(configs: Configs) -> Text:
    return Text(encoders=(last_of_clip(configs, "text_encoder"),))


FAMILY: Final = Family(
    name="sd1",
    title="Stable Diffusion 1.x",
    recognises=_recognises,
    controlled=Controlled(),
    denoiser=UNET,
    predictions=PREDICTIONS,
    encoders=(Encoder("text_encoder"),),
    latents=autoencoder.latents,
    text=_text,
    defaults=Defaults(steps=50, guidance_scale=7.5, strength=0.8),
    turbo=TURBO,
    single_file={
        "unet": single_files.UNET,
        "vae": single_files.VAE,
        "text_encoder": single_files.clip("cond_stage_model.transformer."),
    },
    legacy_scheduler_config=True,
)
