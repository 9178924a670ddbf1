"""The pictures that a denoiser looks at beside the noisy one, as tokens of its sequence.

Each is its latents, without noise, cell by cell, at a place (picture, row, column, 0), where the
noisy picture is picture 0. Source: diffusers' Flux2KleinPipeline and Flux2KleinInpaintPipeline.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from overpaint.bundle.format.manifest import REFERENCE_PLACES, REFERENCE_STATES

from .tiles.windows import Window

Array = npt.NDArray[np.float32]

APART: Final = 10
"""How far one picture's places are from the next one's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """`picture`: what is repainted, (1,C,h,w), None in text to image; `others`: each (1,C,h,w), of
    any size."""

    picture: Array | None = field(repr=False)
    others: tuple[Array, ...] = field(repr=False)

    def of(self, window: Window) -> Shown:
        """What is seen where a part alone is painted: that part, and all of the others."""
        picture = None if self.picture is None else self.picture[window.of()]
        return replace(self, picture=picture)

    def inputs(self, channels: int) -> dict[str, Array]:
        """The denoiser's inputs, for latents of so many channels."""
        pictures = [*([] if self.picture is None else [self.picture]), *self.others]
        states = [one.reshape(channels, -1).T for one in pictures]
        return {
            REFERENCE_STATES: _joined(states, channels)[None],
            REFERENCE_PLACES: _joined(list(_places(pictures)), 4),
        }


def _joined(rows: list[Array], width: int) -> Array:
    return np.concatenate([np.empty((0, width), np.float32), *rows])


def _places(pictures: list[Array]) -> Iterator[Array]:
    for number, picture in enumerate(pictures, 1):
        height, width = picture.shape[2:]
        places = np.zeros((height, width, 4), np.float32)
        places[..., 0] = APART * number
        places[..., 1] = np.arange(height)[:, None]
        places[..., 2] = np.arange(width)
        yield places.reshape(-1, 4)
