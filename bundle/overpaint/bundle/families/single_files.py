"""Where components lie in the original code's single files, as far as families share it."""

from __future__ import annotations

from typing import Final

from overpaint.bundle.checkpoint.original_names.text import clip_source, openclip_source
from overpaint.bundle.checkpoint.original_names.unet import UnetNames
from overpaint.bundle.checkpoint.original_names.vae import VaeNames
from overpaint.bundle.checkpoint.tensors import InSingleFile, Naming

DENOISER: Final = "model.diffusion_model."
UNET: Final = InSingleFile(DENOISER, lambda names: UnetNames.of(names).source)
VAE: Final = InSingleFile("first_stage_model.", lambda names: VaeNames.of(names).source)


def fixed(prefix: str, naming: Naming) -> InSingleFile:
    """A component whose names are the same in every layout."""
    return InSingleFile(prefix, lambda names: naming)


def clip(prefix: str) -> InSingleFile:
    """A text encoder under transformers' names."""
    return fixed(prefix, clip_source)


def openclip(prefix: str) -> InSingleFile:
    """A text encoder under OpenCLIP's names."""
    return fixed(prefix, openclip_source)
