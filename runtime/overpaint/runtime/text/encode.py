"""Run text encoders, each prompt once."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Final

import numpy as np
from tokenizers import Tokenizer

from overpaint.engines.manifest import TextEncoder

from ..components import Components
from ..feed import as_feed
from ..stopwatch import Stopwatch
from .conditioning import Embedding
from .tokens import load_tokenizer, tokenize

CACHED_PROMPTS: Final = 64


class TextEncoders:
    """Prompts -> embeddings, remembered by content: the least recently used is forgotten first."""

    def __init__(self, folder: Path, components: Components) -> None:
        self._folder = folder
        self._components = components
        self._tokenizers: dict[str, Tokenizer] = {}
        self._embeddings: OrderedDict[tuple[str, str], Embedding] = OrderedDict()

    def encode(self, encoder: TextEncoder, prompt: str, watch: Stopwatch) -> Embedding:
        """Encode `prompt` with `encoder`, or recall it."""
        key = encoder.component, prompt
        if key not in self._embeddings:
            self._embeddings[key] = self._run(encoder, prompt, watch)
            if len(self._embeddings) > CACHED_PROMPTS:
                self._embeddings.popitem(last=False)
        self._embeddings.move_to_end(key)
        return self._embeddings[key]

    def _run(self, encoder: TextEncoder, prompt: str, watch: Stopwatch) -> Embedding:
        tokens = tokenize(
            self._tokenizer(encoder.tokenizer),
            prompt,
            length=encoder.length,
            pad_id=encoder.pad_token_id,
        )
        with self._components.use(encoder.component, watch) as session:
            outputs = session.run(as_feed(session, {"input_ids": tokens.ids}))
            # The session may reuse its buffers, and the cache outlives the next run.
            hidden = np.array(outputs[encoder.hidden], np.float32)
            pooled = None if encoder.pooled is None else np.array(outputs[encoder.pooled])
        return Embedding(hidden, pooled, tokens.cut)

    def _tokenizer(self, name: str) -> Tokenizer:
        if name not in self._tokenizers:
            self._tokenizers[name] = load_tokenizer(self._folder / name)
        return self._tokenizers[name]
