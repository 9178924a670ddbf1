"""LoRAs as AUTOMATIC1111's users write them into a prompt: `<lora:ink:0.7>`, or `<lora:ink>` for 1.

Source: the web UI's wiki, "Features", section "Extra networks".
"""

from __future__ import annotations

import re
from typing import Final

from overpaint.bundle.errors import UsageError

_TAG: Final = re.compile(r"[ \t]*<lora:([^<>]*)>")
_WRITTEN: Final = re.compile(r"([^:]+)(?::([+-]?(?:\d+\.?\d*|\.\d+)))?")


def without_tags(prompt: str) -> str:
    """`prompt` as a text encoder reads it."""
    return _TAG.sub("", prompt).strip() if "<lora:" in prompt else prompt


def tagged(prompt: str) -> dict[str, float]:
    """The weights that `prompt` asks for, by name; those of one name add up.

    Raises:
        UsageError: a tag is neither `<lora:NAME>` nor `<lora:NAME:WEIGHT>`.
    """
    weights: dict[str, float] = {}
    for tag in _TAG.finditer(prompt):
        written = _WRITTEN.fullmatch(tag[1])
        if written is None:
            raise UsageError(
                f"prompt: expected <lora:NAME> or <lora:NAME:WEIGHT>, got {tag[0].strip()!r}"
            )
        name, weight = written[1], float(written[2] or 1)
        weights[name] = weights.get(name, 0.0) + weight
    return weights
