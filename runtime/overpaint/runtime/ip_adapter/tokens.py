"""Reference pictures as the tokens that a denoiser's attentions see."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from overpaint.bundle import layout
from overpaint.bundle.format.manifest import Adapter
from overpaint.bundle.ip_adapter.inputs import TOKENS
from overpaint.runtime.components import Components
from overpaint.runtime.feed import as_feed
from overpaint.runtime.stopwatch import Stopwatch

from .references import References

Array = npt.NDArray[Any]


def encode_references(
    components: Components,
    adapter: Adapter,
    references: References,
    watch: Stopwatch,
    *,
    guided: bool,
) -> Array:
    """The tokens of all pictures, (branches, attentions, tokens, width): nothing's first, where
    guidance is on, then the pictures'. Pictures that are seen together are one attention's.

    Nothing is, as diffusers has it, a vector of zeros where the adapter sees a pooled vector, and
    a grey picture where it sees patches.
    """
    pixels = references.pixels
    with components.use(layout.IMAGE_ENCODER, watch) as session:
        [name] = session.inputs

        def encode(picture: Array) -> Array:
            [seen] = session.run(as_feed(session, {name: picture})).values()
            return seen.copy()

        seen = [encode(one[None]) for one in pixels]
        if guided:
            zeros = adapter.kind == "base"
            seen.append(np.zeros_like(seen[0]) if zeros else encode(np.zeros_like(pixels[:1])))
    with components.use(layout.IMAGE_PROJECTION, watch) as session:
        [name] = session.inputs
        made = []
        for one in seen:
            [tokens] = session.run(as_feed(session, {name: one})).values()
            made.append(tokens[0].copy())
    each = np.stack(made[: len(pixels)])
    branches = [np.stack([made[-1]] * len(each)), each] if guided else [each]
    found = np.stack(branches)
    return found.reshape(len(branches), 1, -1, found.shape[-1]) if references.together else found


def reference_inputs(tokens: Array, references: References, n: int) -> dict[str, Array]:
    """The denoiser's inputs for n images: each branch's tokens for all of them, and the scales."""
    return {TOKENS: np.repeat(tokens, n, axis=0), **references.scales}
