"""Opening a folder that optimum exported: it has no manifest, so one is inferred.

Every fact comes from the folder's own configs and graphs, and is listed, because nothing vouches
for it: there are no hashes, no declared ranges and no measured parity.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from overpaint.bundle import layout
from overpaint.bundle.errors import BundleError, CheckpointError, IntegrityError, one_line
from overpaint.bundle.facts import Config, Configs, Latents
from overpaint.bundle.families import facts_of
from overpaint.bundle.files.json import read_json
from overpaint.bundle.files.names import resident
from overpaint.bundle.graph.external import external_tensors_of
from overpaint.bundle.graph.signature import graph_tensors
from overpaint.bundle.tensor import Range
from overpaint.bundle.tokenizer.files import pad_token_id, tokenizer_files

from .bundle import Bundle
from .integrity import external_problems
from .manifest import Component, File, Manifest, Source
from .rules import meaning_problems

ANY_SIZE: Final = Range(minimum=1, maximum=1 << 16)


def infer_bundle(folder: Path) -> Bundle:
    """Open a folder in optimum's layout; `inferred` of the bundle says what was concluded.

    Raises:
        BundleError: it holds no ONNX graphs, or is of no family that overpaint knows.
        IntegrityError: a file is a link, or a graph is malformed or points out of the folder.
    """
    graphs = [name for name in layout.COMPONENTS if (folder / layout.graph_path(name)).is_file()]
    if not graphs:
        raise BundleError(
            f"{folder}: a checkpoint, not a bundle: it has no ONNX graphs. "
            f"Make a bundle of it with: overpaint export {folder} --output BUNDLE"
        )
    try:
        manifest = _manifest(folder, graphs)
        msgspec.convert(msgspec.to_builtins(manifest), Manifest)  # configs may hold any type
    except (CheckpointError, msgspec.ValidationError) as error:
        raise BundleError(f"{folder}: no manifest, and none can be inferred: {error}") from error
    for problem in meaning_problems(manifest):
        raise BundleError(f"{folder}: no manifest, and the inferred one fails: {one_line(problem)}")
    for component in manifest.components.values():
        for problem in external_problems(folder, component.graph, manifest.files):
            raise IntegrityError(one_line(problem))
    return Bundle(folder, manifest, tuple(_notes(manifest)))


def _manifest(folder: Path, graphs: list[str]) -> Manifest:
    name = folder.resolve().name
    configs = _configs(folder, graphs)
    facts = facts_of(configs, name)
    return Manifest(
        name=name,
        family=facts.family,
        denoiser=facts.denoiser,
        components={graph: _component(folder, graph) for graph in graphs},
        latents=_evenly_halved(facts.latents, configs.components[facts.denoiser]),
        prediction=facts.prediction,
        text=facts.text,
        defaults=facts.defaults,
        source=Source(name=name, sha256=""),
        producers={"inferred": "from the configs and graphs of a folder without a manifest"},
        files={
            path: File(size=resident(folder, path).st_size, sha256="", weights=weights)
            for path, weights in _files(folder)
        },
        guidance_embedding_width=facts.guidance_embedding_width,
    )


def _configs(folder: Path, graphs: list[str]) -> Configs:
    components = {}
    for name in graphs:
        if name in (layout.VAE_ENCODER, layout.VAE_DECODER):
            components["vae"] = read_json(folder / name / layout.CONFIG)
        else:
            components[name] = read_json(folder / name / layout.CONFIG)
    tokenizers = [name for name in layout.TOKENIZERS if (folder / name).is_dir()]
    return Configs(
        index=read_json(folder / layout.MODEL_INDEX),
        scheduler=read_json(folder / layout.SCHEDULER_CONFIG),
        components=components,
        pad_token_ids={name: pad_token_id(folder / name) for name in tokenizers},
    )


def _evenly_halved(latents: Latents, denoiser: Config) -> Latents:
    """A UNet's upsampling was traced to double whatever comes, so each level must halve evenly."""
    levels = len(denoiser.get("block_out_channels") or (None,))
    return msgspec.structs.replace(latents, multiple=latents.multiple << (levels - 1))


def _component(folder: Path, name: str) -> Component:
    path = layout.graph_path(name)
    inputs, outputs = graph_tensors(folder / path)
    symbols = {
        size for tensor in (*inputs, *outputs) for size in tensor.shape if isinstance(size, str)
    }
    halves = any(tensor.dtype == "float16" for tensor in (*inputs, *outputs))
    return Component(
        graph=path,
        inputs=inputs,
        outputs=outputs,
        ranges=dict.fromkeys(sorted(symbols), ANY_SIZE),
        compute_dtype="float16" if halves else "float32",
    )


def _files(folder: Path) -> Iterator[tuple[str, bool]]:
    """What is read of the folder, and which of it are weights that a graph points into."""
    yield layout.MODEL_INDEX, False
    yield layout.SCHEDULER_CONFIG, False
    for name in layout.TOKENIZERS:
        if (folder / name).is_dir():
            yield from ((f"{name}/{file}", False) for file in tokenizer_files(folder / name))
    for name in layout.COMPONENTS:
        if (folder / layout.graph_path(name)).is_file():
            yield layout.graph_path(name), False
            yield f"{name}/{layout.CONFIG}", False
            tensors = external_tensors_of(folder / layout.graph_path(name))
            locations = sorted({tensor.location for tensor in tensors})
            yield from ((f"{name}/{location}", True) for location in locations)


def _notes(manifest: Manifest) -> Iterator[str]:
    yield f"no {layout.MANIFEST}: nothing vouches for these files, and none was hashed"
    encoders = ", ".join(encoder.component for encoder in manifest.text.encoders)
    yield f"family {manifest.family}, from its components ({encoders}, {manifest.denoiser})"
    latents = manifest.latents
    yield (
        f"latents of {latents.channels} channels, 1/{latents.downscale} of the picture, scaled by "
        f"{latents.scaling}, from {layout.VAE_DECODER}/{layout.CONFIG}"
    )
    yield (
        f"sides are multiples of {latents.multiple}: optimum's graphs take no latents that a level "
        "of the denoiser cannot halve"
    )
    yield f"prediction {manifest.prediction}, from {layout.SCHEDULER_CONFIG}"
    for encoder in manifest.text.encoders:
        yield (
            f"{encoder.component}: {encoder.hidden} of {encoder.length} tokens, padded with "
            f"{encoder.pad_token_id}, from its config and {encoder.tokenizer}"
        )
        if f"{encoder.tokenizer}/{layout.TOKENIZER}" not in manifest.files:
            yield f"{encoder.tokenizer}: built from vocab.json and merges.txt"
    defaults = manifest.defaults
    yield (
        f"{defaults.steps} steps, guidance {defaults.guidance_scale}, strength "
        f"{defaults.strength}: the family's usual ones"
    )
    yield "tensors from the graphs' own metadata, sizes without limits"
    encoder_outputs = [t.name for t in manifest.components[layout.VAE_ENCODER].outputs]
    if "latent_parameters" not in encoder_outputs:
        yield (
            f"{layout.VAE_ENCODER} gives {', '.join(encoder_outputs)}, not the posterior's "
            "moments: it samples inside the graph, so a seed cannot repeat a picture exactly"
        )
