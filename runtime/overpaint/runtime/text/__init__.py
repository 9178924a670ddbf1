"""Prompts -> what conditions the denoiser. A family's file here defines `condition`."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from overpaint.bundle.families import FAMILIES
from overpaint.bundle.families.family import Family

from .chunks import Prompting
from .conditioning import Condition, Conditioning, Prompts
from .encode import TextEncoders


def find(family: Family) -> Condition:
    """The `condition` of the file that is called as the family."""
    condition: Condition = import_module(f"{__name__}.{family.module}").condition
    return condition


CONDITION: Final[dict[str, Condition]] = {name: find(family) for name, family in FAMILIES.items()}
"""By the family's name."""

__all__ = ["CONDITION", "Condition", "Conditioning", "Prompting", "Prompts", "TextEncoders"]
