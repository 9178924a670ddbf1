"""Stable Diffusion XL's refiner: the base's last fifth, and its second CLIP alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from overpaint.bundle.facts import Components

from . import single_files
from .family import Encoder
from .sdxl import FAMILY as BASE
from .unet import text_encoders


def _recognises(components: Components) -> bool:
    return text_encoders(components) == {"text_encoder_2"}


FAMILY: Final = replace(
    BASE,
    name="sdxl-refiner",
    title="the refiner of Stable Diffusion XL",
    recognises=_recognises,
    controlled=None,
    encoders=(Encoder("text_encoder_2", pooled=True),),
    single_file={
        "unet": single_files.UNET,
        "vae": single_files.VAE,
        "text_encoder_2": single_files.openclip("conditioner.embedders.0.model."),
    },
    refines=BASE.title,
)
