"""The types between prompts and denoiser."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from overpaint.bundle.facts import Text, TextEncoder

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """What a family's conditioning may depend on. `size` is (width, height) in pixels.

    `guided` is False where guidance is off: no negative prompt is encoded then.
    """

    prompt: str
    negative_prompt: str | None
    guided: bool
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Embedding:
    """One encoder's view of one prompt: hidden (1,L,W), of length 0 where none is taken, pooled
    (1,P), and the text that was cut."""

    hidden: Array
    pooled: Array | None
    cut: str


def cut_by(embeddings: Iterable[Embedding]) -> tuple[str, ...]:
    """What was cut, once each: encoders of the same length cut the same."""
    return tuple(dict.fromkeys(one.cut for one in embeddings if one.cut))


@dataclass(frozen=True, slots=True)
class Conditioning:
    """The denoiser's inputs that stay the same through a loop, each with a leading axis of 1.

    `negative` is None where guidance is off. `cut` holds what did not fit the text encoder.
    """

    positive: Mapping[str, Array]
    negative: Mapping[str, Array] | None
    cut: tuple[str, ...] = ()

    @property
    def alone(self) -> Conditioning:
        """The positive side of it."""
        return replace(self, negative=None)

    @property
    def calls(self) -> tuple[Conditioning, ...]:
        """What goes through the denoiser together: all of it, or, where its sides have other
        shapes, the negative side and the positive one."""
        if self.negative is None or _shapes(self.negative) == _shapes(self.positive):
            return (self,)
        return Conditioning(self.negative, None), self.alone

    def batch(self, n: int) -> dict[str, Array]:
        """For n images: n rows, or with guidance 2n, the negative ones first (as diffusers)."""
        sides = [self.positive] if self.negative is None else [self.negative, self.positive]
        return {
            name: np.concatenate([np.repeat(side[name], n, axis=0) for side in sides])
            for name in self.positive
        }


def _shapes(side: Mapping[str, Array]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in side.items()}


Side: TypeAlias = tuple[Mapping[str, Array], tuple[str, ...]]
"""The inputs that one prompt makes, and what was cut of it."""


class Encode(Protocol):
    """An encoder's view of a prompt, which may be the `negative` one."""

    def __call__(
        self, encoder: TextEncoder, prompt: str, /, *, negative: bool = False
    ) -> Embedding: ...


class OfSide(Protocol):
    """What a family makes of one of its prompts."""

    def __call__(
        self, text: Text, prompt: str, encode: Encode, *, negative: bool = False
    ) -> Side: ...


def of_both(prompts: Prompts, text: Text, encode: Encode, side: OfSide) -> Conditioning:
    """What `side` makes of the prompt, and under guidance of the negative one, "" where absent."""
    positive, cut = side(text, prompts.prompt, encode)
    if not prompts.guided:
        return Conditioning(positive, None, cut)
    negative, negative_cut = side(text, prompts.negative_prompt or "", encode, negative=True)
    return Conditioning(positive, negative, cut + negative_cut)


Condition: TypeAlias = Callable[[Text, Prompts, Encode], Conditioning]
"""What each family's file here defines as `condition`."""
