"""A VAE decoder run once, for whoever makes a bundle and fits its previews."""

from __future__ import annotations

from pathlib import Path

from overpaint.bundle import layout
from overpaint.bundle.arrays import Array
from overpaint.bundle.format.manifest import Component

from .engine import cpu_session


def decode(graph: Path, component: Component, latents: Array) -> Array:
    """Latents (B,C,h,w), as the decoder takes them, to pixels (B,3,H,W) in [-1, 1].

    Raises MissingExtraError, SessionError.
    """
    with cpu_session(layout.VAE_DECODER, graph, component) as session:
        [name] = session.inputs
        return next(iter(session.run({name: latents}).values()))
