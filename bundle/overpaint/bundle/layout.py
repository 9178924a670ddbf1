"""Where each thing lies in a bundle: every file name, in one place.

The folder layout is the one that diffusers and optimum use, plus `overpaint.json`.
"""

from __future__ import annotations

from typing import Final

MANIFEST: Final = "overpaint.json"
MODEL_INDEX: Final = "model_index.json"
SCHEDULER_CONFIG: Final = "scheduler/scheduler_config.json"
GRAPH: Final = "model.onnx"
CONFIG: Final = "config.json"
TOKENIZER: Final = "tokenizer.json"
PLANS: Final = "plans"

TEXT_ENCODERS: Final = ("text_encoder", "text_encoder_2", "text_encoder_3")
TOKENIZERS: Final = ("tokenizer", "tokenizer_2", "tokenizer_3")
DENOISERS: Final = ("unet", "transformer")
VAE_ENCODER: Final = "vae_encoder"
VAE_DECODER: Final = "vae_decoder"
TINY_VAE_ENCODER: Final = "tiny_vae_encoder"
TINY_VAE_DECODER: Final = "tiny_vae_decoder"
TINY_VAE: Final = (TINY_VAE_ENCODER, TINY_VAE_DECODER)
IMAGE_ENCODER: Final = "image_encoder"
IMAGE_PROJECTION: Final = "image_projection"
REFERENCES: Final = (IMAGE_ENCODER, IMAGE_PROJECTION)
COMPONENTS: Final = (*TEXT_ENCODERS, *DENOISERS, VAE_ENCODER, VAE_DECODER)

CONTROLNET: Final = "controlnet"
HINT: Final = "hint"
RESIDUAL: Final = "control."
"""How the names begin of what a control network gives and a controlled denoiser takes."""


def graph_path(component: str) -> str:
    """`unet` -> `unet/model.onnx`."""
    return f"{component}/{GRAPH}"


def controls(component: str) -> str | None:
    """The control network that a component of an extended bundle is of: `canny` of
    `controlnet-canny` and of `hint-canny`."""
    kind, dash, name = component.partition("-")
    return name if dash and name and kind in (CONTROLNET, HINT) else None


def is_part(component: str) -> bool:
    """Whether a component of an extended bundle is one of a VAE's parts."""
    whole, dash, number = component.rpartition("-part-")
    return bool(dash) and whole in (VAE_ENCODER, VAE_DECODER) and number.isdecimal()


def part(component: str, number: int) -> str:
    """What one of a VAE's parts is called: `vae_decoder-part-03`."""
    return f"{component}-part-{number:02d}"
