"""Prompts -> what conditions the denoiser: one small file a family, listed in `CONDITION`."""

from __future__ import annotations

from typing import Final

from . import sd, sd3, sdxl
from .chunks import Prompting
from .conditioning import Condition, Conditioning, Request
from .encode import TextEncoders

CONDITION: Final[dict[str, Condition]] = {
    "sd1": sd.condition,
    "sd2": sd.condition,
    "sdxl": sdxl.condition,
    "sdxl-refiner": sdxl.condition,
    "sd3": sd3.condition,
}

__all__ = ["CONDITION", "Condition", "Conditioning", "Prompting", "Request", "TextEncoders"]
