"""Emphasis, as AUTOMATIC1111's web UI reads it from a prompt, and what it does to embeddings.

    (word)   1.1 times     ((word))     1.21 times        (word:1.3)   1.3 times
    [word]   1/1.1 times   \\( \\) \\[ \\] \\\\   as written     BREAK        begins another chunk

A bracket that is never closed reaches to the end; one that was never opened is text. Source: the
web UI's wiki, "Features", section "Attention/emphasis".
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

STEP: Final = 1.1
LIMIT: Final = 100.0
_SYMBOL: Final = re.compile(r"\\[()\[\]\\]|[(\[\]]|:\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*\)|\)")
_BREAK: Final = re.compile(r"\s*\bBREAK\b\s*")


@dataclass(frozen=True, slots=True)
class Part:
    """Text, and how much it is emphasised: 1 is not at all. |weight| is LIMIT at most."""

    text: str
    weight: float = 1.0


Section = tuple[Part, ...]


def parse(prompt: str) -> tuple[Section, ...]:
    """The sections that BREAK separates, one at least, each in parts of one weight.

    Never raises: whatever is not notation is text. A BREAK at the very end begins nothing.
    """
    sections: list[list[Part]] = [[]]
    for part in _merged(_emphasised(prompt)):
        first, *others = _BREAK.split(part.text)
        sections[-1].append(Part(first, part.weight))
        sections += [[Part(text, part.weight)] for text in others]
    found = [tuple(part for part in section if part.text) for section in sections]
    return tuple(found if len(found) == 1 or found[-1] else found[:-1])


def escape(text: str) -> str:
    """`text` so that `parse` takes every character as written (a BREAK stays one)."""
    return re.sub(r"([()\[\]\\])", r"\\\1", text)


def emphasise(hidden: npt.NDArray[Any], weights: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """Embeddings (1,L,W), each token times its weight (L,), at the mean that they had before.

    Weights of 1 change nothing. The mean is kept as the web UI keeps it, so that emphasis moves
    what the prompt says and not how loud it is; where weights take it to 0, it stays there.
    """
    if (weights == 1).all():
        return hidden
    weighted = hidden * weights[None, :, None]
    before, after = hidden.mean(dtype=np.float64), weighted.mean(dtype=np.float64)
    return weighted * np.float32(before / after) if after else weighted


def _emphasised(prompt: str) -> Iterable[Part]:
    symbols = list(_SYMBOL.finditer(prompt))
    opened_by, factors = _pairs(symbols)
    steps, explicit = 0, dict[int, float]()  # what is open here: times 1.1, and by its own number
    at = 0

    def weight() -> float:
        stepped = STEP ** max(-200, min(200, steps))  # far beyond LIMIT, and far from overflow
        return _bounded(math.prod(explicit.values()) * stepped)

    for i, symbol in enumerate(symbols):
        yield Part(prompt[at : symbol.start()], weight())
        at = symbol.end()
        opening = opened_by.get(i, i)
        if opening not in factors:  # an escape, or a bracket without its other half
            yield Part(symbol[0].removeprefix("\\"), weight())
        elif (own := factors[opening]) is None:
            inwards = 1 if symbols[opening][0] == "(" else -1
            steps += inwards if opening == i else -inwards
        elif opening == i:
            explicit[i] = own
        else:
            del explicit[opening]
    yield Part(prompt[at:], weight())


def _pairs(symbols: list[re.Match[str]]) -> tuple[dict[int, int], dict[int, float | None]]:
    """Each closing symbol's opening one; each opening one's own number, or None for the step."""
    opened_by: dict[int, int] = {}
    factors: dict[int, float | None] = {}
    open_brackets: dict[str, list[int]] = {"(": [], "[": []}
    for i, symbol in enumerate(symbols):
        if symbol[0] in open_brackets:
            open_brackets[symbol[0]].append(i)
            factors[i] = None
        elif not symbol[0].startswith("\\"):
            kind = "[" if symbol[0] == "]" else "("
            if open_brackets[kind]:
                opening = opened_by[i] = open_brackets[kind].pop()
                number = symbol[1]
                factors[opening] = None if number is None else _bounded(float(number))
    return opened_by, factors


def _bounded(number: float) -> float:
    return max(-LIMIT, min(LIMIT, number))


def _merged(parts: Iterable[Part]) -> list[Part]:
    """Neighbours of one weight as one part, so that words are not torn."""
    merged: list[Part] = []
    for part in parts:
        if part.text and merged and merged[-1].weight == part.weight:
            merged[-1] = Part(merged[-1].text + part.text, part.weight)
        elif part.text:
            merged.append(part)
    return merged
