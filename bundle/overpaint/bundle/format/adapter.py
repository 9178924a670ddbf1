"""The `overpaint.json` of an IP-Adapter: what makes tokens of reference pictures, and the matrices
by which a denoiser's attentions see them. docs/ip-adapter.md has the fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from overpaint.bundle import layout
from overpaint.bundle.record import Record

from .manifest import Component, File, Source

FORMAT: Final = "overpaint-ip-adapter"
VERSION: Final = 1


class IpAdapter(Record, frozen=True, kw_only=True):
    """The manifest of an IP-Adapter.

    kind: what it sees of a picture, as `Adapter` of an extended bundle has it. tokens: how many a
    picture becomes. width: how wide they are; it fits denoisers whose text is as wide. weights: the
    file that holds the attentions' matrices, which are named in the order of `attentions`; `source`
    is that file as it was published.
    """

    format: Literal["overpaint-ip-adapter"] = "overpaint-ip-adapter"
    version: int = VERSION
    name: str
    kind: Literal["base", "plus"]
    tokens: int
    width: int
    components: dict[str, Component]
    weights: str
    attentions: tuple[tuple[str, str], ...]
    source: Source
    producers: dict[str, str]
    files: dict[str, File]


def problems(manifest: IpAdapter) -> Iterator[str]:
    """What contradicts itself, each as one line."""
    if set(manifest.components) != set(layout.REFERENCES):
        yield f"components: expected {' and '.join(layout.REFERENCES)}"
        return
    for name, component in manifest.components.items():
        if component.graph not in manifest.files:
            yield f"components.{name}.graph: {component.graph!r} is not listed in files"
        for side in ("inputs", "outputs"):
            if len(getattr(component, side)) != 1:
                yield f"components.{name}.{side}: expected one"
    if manifest.weights not in manifest.files:
        yield f"weights: {manifest.weights!r} is not listed in files"
    made = [one.shape for one in manifest.components[layout.IMAGE_PROJECTION].outputs]
    if made != [("batch", manifest.tokens, manifest.width)]:
        yield f"components.{layout.IMAGE_PROJECTION}.outputs: expected (batch, tokens, width)"
    if not manifest.attentions:
        yield "attentions: expected at least one"
