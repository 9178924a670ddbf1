"""A family that nobody trained: a UNet that is told the time as a fraction, and one CLIP."""

from __future__ import annotations

from overpaint.bundle.facts import Components, Configs, Defaults, Text
from overpaint.bundle.families import autoencoder, single_files
from overpaint.bundle.families.encoders import last_of_clip
from overpaint.bundle.families.family import Denoiser, Encoder, Family


def _recognises(components: Components) -> bool:
    return "toys" in components.get("transformer", {})


def _text(configs: Configs) -> Text:
    return Text(encoders=(last_of_clip(configs, "text_encoder"),))


FAMILY = Family(
    name="toy",
    title="a toy",
    recognises=_recognises,
    denoiser=Denoiser(
        component="transformer", sample="toys", time=lambda timestep: timestep / 1000
    ),
    predictions=("flow",),
    encoders=(Encoder("text_encoder"),),
    latents=autoencoder.latents,
    text=_text,
    defaults=Defaults(steps=3, guidance_scale=1.0, strength=0.5),
    turbo=Defaults(steps=1, guidance_scale=1.0, strength=0.5),
    single_file={"vae": single_files.VAE},
)
