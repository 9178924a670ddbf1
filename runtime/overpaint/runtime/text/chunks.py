"""Prompts -> chunks of token ids, each as long as its text encoder takes.

Usually a prompt is one chunk, and what does not fit is cut. Where chunks are asked for, a long
prompt is as many as it needs, each between special tokens of its own; the denoiser then attends to
all of them, one behind the other. Source: AUTOMATIC1111's web UI, wiki, "Infinite prompt length".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from overpaint.bundle.facts import TextEncoder

from .lora_tags import without_tags
from .weights import Part, Section, parse


@dataclass(frozen=True, slots=True)
class Prompting:
    """How prompts are read. Both off is how diffusers reads them.

    chunks: a prompt longer than the text encoder is chunked, not cut. weights: `(word:1.2)`,
    `[word]`, BREAK and `<lora:ink:0.7>` mean what they mean to AUTOMATIC1111's web UI. clip_skip:
    how many layers before its last CLIP is read.
    """

    chunks: bool = False
    weights: bool = False
    clip_skip: int = 0

    def sections(self, prompt: str) -> tuple[Section, ...]:
        """`prompt` as what is tokenized: each section begins a chunk."""
        return parse(without_tags(prompt)) if self.weights else ((Part(prompt),),)


@dataclass(frozen=True, slots=True)
class Chunk:
    """ids (1,L) int64, padded where its encoder's are, and each token's weight (L,), 1 for special
    and padding tokens. mask (1,L) int64: 1 for all but padding."""

    ids: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]
    mask: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Chunks:
    """One chunk or more; `cut` is the text that fits none of them."""

    chunks: tuple[Chunk, ...]
    cut: str


@dataclass(frozen=True, slots=True)
class _Token:
    id: int
    weight: float
    part: int
    offset: int  # where it begins in its part's text


def chunked(
    tokenizer: Tokenizer, prompt: str, encoder: TextEncoder, prompting: Prompting
) -> Chunks:
    """`prompt` as `encoder` takes it.

    What a cut leaves keeps its closing special token, as transformers' truncation does. Only CLIP
    takes several chunks: what others take is as long as the denoiser was trained on.
    """
    special = tokenizer.encode("").ids  # Qwen3 has none
    start, end = special[:-1], special[-1:]
    room = encoder.length - len(special)
    sections = prompting.sections(prompt)
    if encoder.kind != "clip":
        sections = (tuple(part for section in sections for part in section),)
    chunks: list[Chunk] = []
    cut: list[str] = []
    for section in sections:
        tokens = list(_tokens(tokenizer, section))
        kept = tokens
        if not (prompting.chunks and encoder.kind == "clip"):
            kept = tokens[:room]
            cut.append(_text_from(section, tokens[room:]))
        for first in range(0, max(len(kept), 1), room):
            chunks.append(_framed(kept[first : first + room], start, end, encoder))
    return Chunks(tuple(chunks), " ".join(text for text in cut if text))


def _tokens(tokenizer: Tokenizer, section: Section) -> Iterator[_Token]:
    for index, part in enumerate(section):
        encoding: Any = tokenizer.encode(part.text, add_special_tokens=False)
        for token, (offset, _) in zip(encoding.ids, encoding.offsets, strict=True):
            yield _Token(token, part.weight, index, offset)


def _text_from(section: Section, tokens: Sequence[_Token]) -> str:
    """The text of `section` from the first of `tokens` on."""
    if not tokens:
        return ""
    first = tokens[0]
    behind = (part.text for part in section[first.part + 1 :])
    return "".join([section[first.part].text[first.offset :], *behind]).strip()


def _framed(
    tokens: Sequence[_Token], start: list[int], end: list[int], encoder: TextEncoder
) -> Chunk:
    framed = [*start, *(token.id for token in tokens), *end]
    length = encoder.length if encoder.pads else len(framed)
    ids = np.full((1, length), encoder.pad_token_id, np.int64)
    weights = np.ones(length, np.float32)
    ids[0, : len(framed)] = framed
    mask = (np.arange(length) < len(framed)).astype(np.int64)[None]
    weights[len(start) : len(start) + len(tokens)] = [token.weight for token in tokens]
    return Chunk(ids, weights, mask)
