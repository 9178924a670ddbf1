"""How much of a prompt T5 reads."""

from __future__ import annotations

import msgspec

from overpaint.bundle.errors import UsageError
from overpaint.bundle.facts import Text


def with_t5_length(text: Text, tokens: int | None) -> Text:
    """`text` with T5 reading so many tokens; None leaves it. UsageError where there is no T5."""
    if tokens is None:
        return text
    if text.t5_length is None:
        raise UsageError("max_sequence_length: it is T5's, and this bundle's family has none")
    encoders = tuple(
        msgspec.structs.replace(one, length=tokens) if one.kind == "t5" else one
        for one in text.encoders
    )
    return msgspec.structs.replace(text, encoders=encoders, t5_length=tokens)
