"""Words of textual inversions in a prompt: one of several vectors is as many tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence

from overpaint.bundle.embeddings.extend import tokens_of
from overpaint.bundle.format.manifest import Embedding


def expanded(prompt: str, embeddings: Sequence[Embedding]) -> str:
    """`prompt` with each word of several vectors written out as its tokens, as diffusers'
    `maybe_convert_prompt` does."""
    for one in embeddings:
        if one.vectors > 1:
            tokens = " ".join(tokens_of(one.word, one.vectors))
            prompt = re.sub(re.escape(one.word), lambda _, tokens=tokens: tokens, prompt)  # type: ignore[misc]
    return prompt
