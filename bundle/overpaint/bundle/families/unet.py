"""The UNet that Stable Diffusion 1, 2 and XL share: its inputs, and what it was trained for."""

from __future__ import annotations

from typing import Final

from overpaint.bundle.facts import Components, Defaults, Prediction

from .family import Denoiser

UNET: Final = Denoiser(component="unet", sample="sample")
PREDICTIONS: Final[tuple[Prediction, ...]] = ("epsilon", "v_prediction", "sample")
TURBO: Final = Defaults(steps=4, guidance_scale=1.0, strength=0.5, distilled=True)


def text_encoders(components: Components) -> set[str]:
    """The text encoders of a checkpoint with a UNet; none, where it has no UNet."""
    return {"text_encoder", "text_encoder_2"} & set(components) if "unet" in components else set()


def projects_with_matrices(components: Components) -> bool:
    """Whether the UNet's transformers project with matrices, where the first had convolutions."""
    return bool(components["unet"].get("use_linear_projection"))
