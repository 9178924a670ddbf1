"""Run text encoders, each prompt once."""

from __future__ import annotations

import re
from collections import OrderedDict
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from tokenizers import Tokenizer

from overpaint.bundle import layout
from overpaint.bundle.facts import Text, TextEncoder
from overpaint.bundle.graph.final_norm import FinalNorm, final_norm
from overpaint.bundle.lora.branches import SCALE
from overpaint.runtime.components import Components
from overpaint.runtime.feed import as_feed
from overpaint.runtime.stopwatch import Stopwatch

from .chunks import Chunks, Prompting, chunked
from .clip_skip import hidden_name, is_normed
from .conditioning import Array, Embedding
from .tokens import load_tokenizer
from .weights import emphasise

CACHED_PROMPTS: Final = 64


_Key: TypeAlias = tuple[str, int, str, Prompting, tuple[float, ...]]


class TextEncoders:
    """Prompts -> embeddings, remembered by content: the least recently used is forgotten first."""

    def __init__(
        self, folder: Path, components: Components, *, turned: frozenset[str] = frozenset()
    ) -> None:
        """`turned`: the components whose LoRAs turn."""
        self._folder = folder
        self._components = components
        self._turned = turned
        self._tokenizers: dict[str, Tokenizer] = {}
        self._norms: dict[str, FinalNorm] = {}
        self._embeddings: OrderedDict[_Key, Embedding] = OrderedDict()

    def forget(self) -> None:
        """Remember no prompt."""
        self._embeddings.clear()

    def chunks(self, text: Text, prompts: list[str], prompting: Prompting) -> int:
        """How many chunks the longest of `prompts` takes."""
        if not prompting.chunks and not prompting.weights:
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
        lora_scale: Array | None = None,
    ) -> Embedding:
        """Encode `prompt` with `encoder`, or recall it.

        A CLIP's embedding is of `chunks` chunks at least, so that a prompt and a shorter negative
        one are equally long: those of the empty prompt follow. The first chunk is what is pooled.
        `lora_scale` (N,): the weights of LoRAs that turn.
        """
        scale: tuple[float, ...] = ()
        if lora_scale is not None and encoder.component in self._turned:
            scale = tuple(map(float, lora_scale))
        own = self._recall(encoder, prompt, prompting, scale, watch)
        missing = chunks - own.hidden.shape[1] // encoder.length
        if encoder.kind != "clip" or encoder.hidden is None or missing <= 0:
            return own
        empty = self._recall(encoder, "", prompting, scale, watch).hidden
        return Embedding(np.concatenate([own.hidden, *[empty] * missing], 1), own.pooled, own.cut)

    def _recall(
        self,
        encoder: TextEncoder,
        prompt: str,
        prompting: Prompting,
        scale: tuple[float, ...],
        watch: Stopwatch,
    ) -> Embedding:
        key = encoder.component, encoder.length, prompt, prompting, scale
        if key not in self._embeddings:
            self._embeddings[key] = self._run(encoder, prompt, prompting, scale, watch)
            if len(self._embeddings) > CACHED_PROMPTS:
                self._embeddings.popitem(last=False)
        self._embeddings.move_to_end(key)
        return self._embeddings[key]

    def _run(
        self,
        encoder: TextEncoder,
        prompt: str,
        prompting: Prompting,
        scale: tuple[float, ...],
        watch: Stopwatch,
    ) -> Embedding:
        turned = {SCALE: np.array(scale, np.float32)} if scale else {}
        found = self._chunked(encoder, prompt, prompting)
        hidden, pooled = [], None
        with self._components.use(encoder.component, watch) as session:
            taken = hidden_name(encoder, session.outputs, prompting.clip_skip)
            for chunk in found.chunks:
                feed: dict[str, Array] = {"input_ids": chunk.ids, **turned}
                if encoder.hides_padding:
                    feed["attention_mask"] = chunk.mask
                outputs = session.run(as_feed(session, feed))
                # The session may reuse its buffers, and the cache outlives the next run.
                if taken is not None:
                    states = np.array(outputs[taken], np.float32)
                    if is_normed(encoder, prompting.clip_skip):
                        states = self._norm(encoder)(states)
                    hidden.append(emphasise(states, chunk.weights))
                if encoder.pooled is not None and pooled is None:
                    pooled = np.array(outputs[encoder.pooled])
        states = np.concatenate(hidden, axis=1) if hidden else np.empty((1, 0, 0), np.float32)
        return Embedding(states, pooled, found.cut)

    def _norm(self, encoder: TextEncoder) -> FinalNorm:
        if encoder.component not in self._norms:
            graph = self._folder / layout.graph_path(encoder.component)
            self._norms[encoder.component] = final_norm(graph)
        return self._norms[encoder.component]

    def _chunked(self, encoder: TextEncoder, prompt: str, prompting: Prompting) -> Chunks:
        return chunked(self._tokenizer(encoder), prompt, encoder, prompting)

    def _tokenizer(self, encoder: TextEncoder) -> Tokenizer:
        if encoder.tokenizer not in self._tokenizers:
            self._tokenizers[encoder.tokenizer] = load_tokenizer(self._folder / encoder.tokenizer)
        return self._tokenizers[encoder.tokenizer]
