"""Stable Diffusion 2.x: as the first, with OpenCLIP for CLIP."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from overpaint.bundle.facts import Components

from . import single_files
from .family import Controlled
from .sd1 import FAMILY as FIRST
from .unet import projects_with_matrices, text_encoders


def _recognises(components: Components) -> bool:
    return text_encoders(components) == {"text_encoder"} and projects_with_matrices(components)


FAMILY: Final = replace(
    FIRST,
    name="sd2",
    title="Stable Diffusion 2.x",
    recognises=_recognises,
    controlled=Controlled(linear=True),
    single_file={
        **FIRST.single_file,
        "text_encoder": single_files.openclip("cond_stage_model.model."),
    },
)
