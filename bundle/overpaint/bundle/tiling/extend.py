"""A bundle whose VAE lies there in parts as well, in the user's cache."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from overpaint.bundle import layout
from overpaint.bundle.errors import BundleError
from overpaint.bundle.extended import extended
from overpaint.bundle.files.hashing import Progress
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.manifest import Component, Manifest

from .split import split

_FORMAT: Final = "1"  # raise it when the same graph would be cut otherwise


def in_parts(bundle: Bundle, progress: Progress | None = None) -> Path:
    """The folder of `bundle` whose manifest has, beside encoder and decoder, the parts of each:
    `vae_decoder-part-00` and so on. Their graphs read the weights that lie there already.

    Raises:
        BundleError: `bundle` has no manifest, or its VAE is built otherwise.
    """

    def edit(folder: Path, manifest: Manifest) -> Manifest:
        components = dict(manifest.components)
        for name in (layout.VAE_ENCODER, layout.VAE_DECODER):
            entry = manifest.components[name]
            graph = folder / entry.graph
            try:
                parts = split(graph.read_bytes(), entry, str(Path(entry.graph).parent))
            except BundleError as error:
                raise BundleError(f"{bundle.folder}: {name}: {error}") from None
            for number, part in enumerate(parts):
                (folder / part.component.graph).write_bytes(part.model)
                components[layout.part(name, number)] = part.component
        return msgspec.structs.replace(manifest, components=components)

    return extended(bundle, "tiles", [_FORMAT], edit, progress)


def parts_of(manifest: Manifest, component: str) -> dict[str, Component]:
    """The parts of a VAE's half in the order they run, by name; none of a bundle without them."""
    named = (layout.part(component, number) for number in range(len(manifest.components)))
    return {name: manifest.components[name] for name in named if name in manifest.components}
