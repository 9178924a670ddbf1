"""A base's bundle and an adapter's as one: the denoiser sees reference pictures, and what makes
tokens of them lies beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from overpaint.bundle.checkpoint.link import place
from overpaint.bundle.checkpoint.safetensors import Stored, read_header
from overpaint.bundle.errors import CheckpointError, UsageError
from overpaint.bundle.extended import extended
from overpaint.bundle.files.hashing import Progress
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.manifest import Adapter, Manifest
from overpaint.bundle.graph.weights import Piece, Weight, bind, unbind
from overpaint.bundle.record import Record

from .attention import Place, places, with_adapter
from .bundle import AdapterBundle
from .inputs import ranges, scale_input, tokens_input

BESIDE: Final = "ip-adapter.safetensors"
"""What the adapter's file is called beside the denoiser's graph."""
_REVISION: Final = "1"  # raise it when the same files would make another graph


def attach(bundle: Bundle, adapter: AdapterBundle, progress: Progress | None = None) -> Path:
    """The folder of `bundle` whose denoiser sees pictures through `adapter`, in the user's cache.

    Raises:
        UsageError: the adapter is for another family of denoisers, or one is there already.
        CheckpointError: the denoiser's graph is not what an adapter's attentions are for.
    """
    files = sorted(f"{path}={file.sha256}" for path, file in adapter.manifest.files.items())
    key = [_REVISION, *files]

    def edit(folder: Path, manifest: Manifest) -> Manifest:
        return _attached(folder, manifest, adapter)

    return extended(bundle, "ip-adapter", key, edit, progress)


class Sees(Record, frozen=True, kw_only=True):
    """Which IP-Adapters fit a denoiser: those of so many attentions to text of this width."""

    attentions: int
    width: int


def sees(bundle: Bundle) -> Sees | None:
    """Which IP-Adapters fit the denoiser of `bundle`; None: none does, or one is there already."""
    manifest = bundle.manifest
    if bundle.inferred or manifest.ip_adapter is not None:
        return None
    graph = bundle.folder / manifest.components[manifest.denoiser].graph
    where = places(unbind(graph.read_bytes())[0])
    return Sees(attentions=len(where), width=where[0].width) if where else None


def _attached(folder: Path, manifest: Manifest, adapter: AdapterBundle) -> Manifest:
    told, denoiser = adapter.manifest, manifest.components[manifest.denoiser]
    if manifest.ip_adapter is not None:
        raise UsageError(f"ip_adapter: {manifest.name} has {manifest.ip_adapter.name} already")
    graph = folder / denoiser.graph
    template, weights = unbind(graph.read_bytes())
    where = places(template)
    _check_fits(manifest, adapter, where)
    file = adapter.folder / told.weights
    place(file, graph.parent / BESIDE)
    weights |= {name: _beside(stored) for name, stored in _matrices(file, told.attentions).items()}
    edited = with_adapter(template, told.attentions)
    graph.unlink()  # it may be a link to the graph that it was made from
    graph.write_bytes(bind(edited, weights))
    for path in told.files:
        place(adapter.folder / path, folder / path)
    levels = sorted({one.level for one in where})
    seeing = msgspec.structs.replace(
        denoiser,
        inputs=(*denoiser.inputs, tokens_input(told.width), *map(scale_input, levels)),
        ranges={**denoiser.ranges, **ranges(levels)},
        parity=None,
    )
    return msgspec.structs.replace(
        manifest,
        components={**manifest.components, manifest.denoiser: seeing, **told.components},
        ip_adapter=Adapter(
            name=told.name, sha256=told.source.sha256, kind=told.kind, tokens=told.tokens
        ),
    )


def _check_fits(manifest: Manifest, adapter: AdapterBundle, where: list[Place]) -> None:
    told = adapter.manifest
    if not where:
        raise UsageError(
            f"ip_adapter: {manifest.name} ({manifest.family}) has no cross-attention that an "
            "IP-Adapter adds to; SD 1.5 and SDXL have"
        )
    widths = {one.width for one in where}
    if widths != {told.width} or len(where) != len(told.attentions):
        raise UsageError(
            f"ip_adapter: {told.name} is for {len(told.attentions)} attentions to text of width "
            f"{told.width}, and {manifest.name} ({manifest.family}) has {len(where)} of width "
            f"{', '.join(map(str, sorted(widths)))}; take the adapter of its family"
        )


def _matrices(file: Path, pairs: tuple[tuple[str, str], ...]) -> dict[str, Stored]:
    tensors = read_header(file)[0]
    names = [name for pair in pairs for name in pair]
    if missing := [name for name in names if name not in tensors]:
        raise CheckpointError(f"{file}: it lacks {missing[0]!r}")
    return {name: tensors[name] for name in names}


def _beside(stored: Stored) -> Weight:
    return Weight(stored.dtype, (Piece(BESIDE, stored.offset, stored.size),))
