"""An earlier layer of CLIP as the context, as diffusers' clip_skip takes it.

A checkpoint that is fed CLIP's last hidden state, which is normalized, takes the state so many
layers before it, normalized the same way; one that is fed the last but one takes the state so many
layers before that, as it is.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from overpaint.bundle.errors import UsageError
from overpaint.bundle.facts import TextEncoder
from overpaint.bundle.graph.final_norm import LAST

_STATES: Final = "hidden_states."


def hidden_name(encoder: TextEncoder, outputs: Collection[str], skip: int) -> str | None:
    """The output of `encoder` that is the context, `skip` layers before its own; None where its
    pooled vector alone is taken.

    Raises UsageError where it has none so early.
    """
    if not skip or encoder.kind != "clip" or encoder.hidden is None:
        return encoder.hidden
    states = [int(name.removeprefix(_STATES)) for name in outputs if name.startswith(_STATES)]
    if not states:
        raise UsageError(
            f"clip_skip: the graph of {encoder.component} gives no earlier layer; make the bundle "
            "with overpaint export or overpaint import"
        )
    own = max(states) if encoder.hidden == LAST else int(encoder.hidden.removeprefix(_STATES))
    if own - skip not in states:
        raise UsageError(f"clip_skip: expected {own} or less for {encoder.component}, got {skip}")
    return f"{_STATES}{own - skip}"


def is_normed(encoder: TextEncoder, skip: int) -> bool:
    """Whether what is taken `skip` layers before still wants the encoder's last norm."""
    return bool(skip) and encoder.kind == "clip" and encoder.hidden == LAST
