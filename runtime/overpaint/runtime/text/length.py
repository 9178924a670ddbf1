"""How much of a prompt is read by the text encoders that leave it open."""

from __future__ import annotations

from typing import Final

import msgspec

from overpaint.bundle.errors import UsageError
from overpaint.bundle.facts import Text

_OPEN: Final = ("t5", "qwen3")


def with_length(text: Text, tokens: int | None) -> Text:
    """`text` with T5 or Qwen3 reading so many tokens; None leaves it. UsageError where there is
    neither."""
    if tokens is None:
        return text
    if text.t5_length is None and not any(one.kind in _OPEN for one in text.encoders):
        raise UsageError(
            "max_sequence_length: it is T5's and Qwen3's, and this bundle's family has neither"
        )
    encoders = tuple(
        msgspec.structs.replace(one, length=tokens) if one.kind in _OPEN else one
        for one in text.encoders
    )
    t5_length = None if text.t5_length is None else tokens
    return msgspec.structs.replace(text, encoders=encoders, t5_length=t5_length)
