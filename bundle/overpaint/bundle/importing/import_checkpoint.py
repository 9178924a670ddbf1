"""`overpaint import`: a checkpoint becomes a bundle with no torch, in seconds.

The graphs come with the package and the weights stay as they are: what is written is where each
weight lies. Recognising, binding and hashing are all the work there is.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec

from overpaint.bundle import layout
from overpaint.bundle.checkpoint.bind import bind_into
from overpaint.bundle.checkpoint.link import Choice, Placed
from overpaint.bundle.errors import UsageError
from overpaint.bundle.format.manifest import Component, Manifest, Source
from overpaint.bundle.format.manifest_file import write_manifest
from overpaint.bundle.format.write import finish_bundle, new_bundle
from overpaint.bundle.lora.file import LoraChoice
from overpaint.bundle.lora.fuse import fuse_into
from overpaint.bundle.progress import Progress, Steps

from .checkpoint_kinds import Folder, SingleFile, open_for_import
from .library import Library, open_library
from .preview_factors import Decode, fit_preview
from .recognise import Recognised, recognise
from .write_configs import Described, describe_file, describe_folder, write_json

_NOT_YET: Final = "0" * 64  # a checkpoint's hash, until the bundle's files are hashed


@dataclass(frozen=True, slots=True)
class Imported:
    """A bundle's manifest, the architecture that it was made from, and how its weights came."""

    manifest: Manifest
    architecture: str
    placed: frozenset[Placed]


def import_checkpoint(
    checkpoint: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    link: Choice = "auto",
    loras: Sequence[LoraChoice] = (),
    like: str | None = None,
    tokenizer: str | os.PathLike[str] | None = None,
    rest: str | os.PathLike[str] | None = None,
    dtype: str = "float32",
    force: bool = False,
    library: Library | None = None,
    decode: Decode | None = None,
    progress: Progress | None = None,
) -> Imported:
    """Make the bundle `output` of a diffusers folder, a hub id or a single `.safetensors` file.

    Args:
        link: bring weights in by link, by copy, or (`auto`) by link where that is possible.
        loras: fused, in order, each at its weight.
        like: which architecture a single file is, where its tensors and metadata cannot tell.
        tokenizer: a folder with T5's or Qwen3's tokenizer.json, which a single file with either
            needs.
        rest: a diffusers folder that has what a single file lacks: a file of FLUX.1 is often its
            denoiser alone.
        dtype: what the graphs compute in.
        library: the architectures to choose from; absent, those of the package.
        decode: runs the VAE decoder once, so that previews are in colour; absent, they are grey.

    Raises:
        CheckpointError: it is of no architecture of the library, incomplete, mixed, a pickle, or
            broken; or a LoRA does not fit it.
        UsageError: an unknown dtype or `like`.
        OutputExistsError: `output` is there already and `force` is not set.
    """
    shelf = library or open_library()
    given = None if tokenizer is None else Path(tokenizer)
    with new_bundle(output, force) as folder:
        opened = open_for_import(checkpoint, rest)
        if given is None and isinstance(opened, SingleFile) and opened.rest is not None:
            given = opened.rest.checkpoint.folder
        recognised = recognise(shelf, opened.tensors_of, opened.label)
        if isinstance(opened, Folder):
            if like is not None:
                raise UsageError("--like: is for single files; a diffusers folder says what it is")
            described = describe_folder(shelf, opened, recognised, folder, given)
        else:
            described = describe_file(shelf, opened, recognised, like, folder, given)
        steps = Steps(progress, len(recognised.components) + 1, bool(loras))  # the VAE's are two
        bound = _bind(shelf, described, recognised, folder, dtype, link, steps)
        manifest = _manifest(opened.name, described, bound.components, shelf)
        with ThreadPoolExecutor(1) as pool:  # hashing keeps one core busy, and only one
            preview = pool.submit(fit_preview, folder, manifest, decode)
            if loras:
                manifest = fuse_into(folder, manifest, loras, steps.fusing)
            manifest = finish_bundle(folder, manifest, steps.hashing)
        source = Source(name=opened.name, sha256=_fingerprint(folder, manifest, bound.already))
        manifest = msgspec.structs.replace(manifest, source=source, preview=preview.result())
        write_manifest(folder, manifest)
    return Imported(manifest, described.architecture, frozenset(bound.placed))


@dataclass(frozen=True, slots=True)
class _Bound:
    components: dict[str, Component] = field(default_factory=dict)
    placed: set[Placed] = field(default_factory=set)
    already: dict[Path, Path] = field(default_factory=dict)


def _bind(
    library: Library,
    described: Described,
    recognised: Recognised,
    folder: Path,
    dtype: str,
    link: Choice,
    steps: Steps,
) -> _Bound:
    """Bring every component's config, weights and graph into `folder`."""
    bound = _Bound()
    for component, graph in library.graphs(described.architecture, dtype).items():
        source = "vae" if component in (layout.VAE_ENCODER, layout.VAE_DECODER) else component
        if source not in recognised.components:
            continue
        steps.next(f"{component}: finding its weights")
        here = folder / component
        here.mkdir()
        write_json(here / layout.CONFIG, described.configs.components[source])
        bound.placed.update(
            bind_into(
                here,
                library.template(graph),
                library.slots(graph),
                recognised.components[source].found,
                link,
                bound.already,
            )
        )
        entry = library.index.graphs[graph].component
        path = layout.graph_path(component)
        bound.components[component] = msgspec.structs.replace(entry, graph=path)
    return bound


def _manifest(
    name: str, described: Described, components: Mapping[str, Component], library: Library
) -> Manifest:
    facts = described.facts
    return Manifest(
        name=name,
        family=facts.family,
        denoiser=facts.denoiser,
        components=dict(components),
        latents=facts.latents,
        prediction=facts.prediction,
        text=facts.text,
        defaults=facts.defaults,
        source=Source(name=name, sha256=_NOT_YET),
        producers={"overpaint": version("overpaint"), **library.index.versions},
        files={},
        guidance_embedding_width=facts.guidance_embedding_width,
    )


def _fingerprint(folder: Path, manifest: Manifest, already: Mapping[Path, Path]) -> str:
    """SHA-256 of a single file; of the names and hashes of a folder's weight files."""
    hashes = {
        file: manifest.files[target.relative_to(folder).as_posix()].sha256
        for file, target in already.items()
    }
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    digest = hashlib.sha256()
    for file in sorted(hashes):
        digest.update(f"{file.parent.name}/{file.name} {hashes[file]}\n".encode())
    return digest.hexdigest()
