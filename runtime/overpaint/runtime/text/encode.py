"""Run text encoders, each prompt once."""

from __future__ import annotations

import re
from collections import OrderedDict
from pathlib import Path
from typing import Final

import numpy as np
from tokenizers import Tokenizer

from overpaint.bundle.facts import Text, TextEncoder
from overpaint.runtime.components import Components
from overpaint.runtime.feed import as_feed
from overpaint.runtime.stopwatch import Stopwatch

from .chunks import Chunks, Prompting, chunked
from .conditioning import Embedding
from .tokens import load_tokenizer
from .weights import emphasise

CACHED_PROMPTS: Final = 64


class TextEncoders:
    """Prompts -> embeddings, remembered by content: the least recently used is forgotten first."""

    def __init__(self, folder: Path, components: Components) -> None:
        self._folder = folder
        self._components = components
        self._tokenizers: dict[str, Tokenizer] = {}
        self._embeddings: OrderedDict[tuple[str, int, str, Prompting], Embedding] = OrderedDict()

    def forget(self) -> None:
        """Remember no prompt."""
        self._embeddings.clear()

    def chunks(self, text: Text, prompts: list[str], prompting: Prompting) -> int:
        """How many chunks the longest of `prompts` takes."""
        if prompting == Prompting():
            return 1
        return max(
            len(self._chunked(encoder, prompt, prompting).chunks)
            for encoder in text.encoders
            for prompt in prompts
        )

    def in_pieces(self, encoder: TextEncoder, prompt: str) -> tuple[str, ...]:
        """The words of `prompt` that are no tokens of their own."""
        tokenizer = self._tokenizer(encoder)
        words = dict.fromkeys(re.findall(r"\w+", prompt))
        return tuple(w for w in words if len(tokenizer.encode(w, add_special_tokens=False)) > 1)

    def encode(
        self,
        encoder: TextEncoder,
        prompt: str,
        watch: Stopwatch,
        prompting: Prompting = Prompting(),  # noqa: B008 - frozen
        chunks: int = 1,
    ) -> Embedding:
        """Encode `prompt` with `encoder`, or recall it.

        A CLIP's embedding is of `chunks` chunks at least, so that a prompt and a shorter negative
        one are equally long: those of the empty prompt follow. The first chunk is what is pooled.
        """
        own = self._recall(encoder, prompt, prompting, watch)
        missing = chunks - own.hidden.shape[1] // encoder.length
        if encoder.kind == "t5" or missing <= 0:
            return own
        empty = self._recall(encoder, "", prompting, watch).hidden
        return Embedding(np.concatenate([own.hidden, *[empty] * missing], 1), own.pooled, own.cut)

    def _recall(
        self, encoder: TextEncoder, prompt: str, prompting: Prompting, watch: Stopwatch
    ) -> Embedding:
        key = encoder.component, encoder.length, prompt, prompting
        if key not in self._embeddings:
            self._embeddings[key] = self._run(encoder, prompt, prompting, watch)
            if len(self._embeddings) > CACHED_PROMPTS:
                self._embeddings.popitem(last=False)
        self._embeddings.move_to_end(key)
        return self._embeddings[key]

    def _run(
        self, encoder: TextEncoder, prompt: str, prompting: Prompting, watch: Stopwatch
    ) -> Embedding:
        found = self._chunked(encoder, prompt, prompting)
        hidden, pooled = [], None
        with self._components.use(encoder.component, watch) as session:
            for chunk in found.chunks:
                outputs = session.run(as_feed(session, {"input_ids": chunk.ids}))
                # The session may reuse its buffers, and the cache outlives the next run.
                states = np.array(outputs[encoder.hidden], np.float32)
                hidden.append(emphasise(states, chunk.weights))
                if encoder.pooled is not None and pooled is None:
                    pooled = np.array(outputs[encoder.pooled])
        return Embedding(np.concatenate(hidden, axis=1), pooled, found.cut)

    def _chunked(self, encoder: TextEncoder, prompt: str, prompting: Prompting) -> Chunks:
        return chunked(self._tokenizer(encoder), prompt, encoder, prompting)

    def _tokenizer(self, encoder: TextEncoder) -> Tokenizer:
        if encoder.tokenizer not in self._tokenizers:
            self._tokenizers[encoder.tokenizer] = load_tokenizer(self._folder / encoder.tokenizer)
        return self._tokenizers[encoder.tokenizer]
