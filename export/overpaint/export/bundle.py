"""`overpaint export`: a checkpoint becomes a bundle, all of it or nothing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
import torch

from overpaint.bundle import layout
from overpaint.bundle.checkpoint.folder import Checkpoint, configs_of, open_checkpoint
from overpaint.bundle.checkpoint.safetensors import Stored
from overpaint.bundle.errors import CheckpointError, UsageError
from overpaint.bundle.families import facts_of
from overpaint.bundle.files.hashing import sha256_file
from overpaint.bundle.format.manifest import Component, Manifest, Source
from overpaint.bundle.format.write import finish_bundle, new_bundle
from overpaint.bundle.importing.preview_factors import fit_preview
from overpaint.bundle.lora.file import LoraChoice
from overpaint.bundle.lora.fuse import fuse_into
from overpaint.bundle.tensor import DType
from overpaint.engines.onnxruntime.cpu.decode import decode

from .parity import Reference, measure, reference
from .part import Part
from .parts import parts_of
from .quiet import quietly
from .reduced import fit_memory, measure_reduced
from .tokenizers import write_tokenizer
from .trace import trace
from .weights import STORED_NAMES, place_weights

Progress: TypeAlias = Callable[[int, int, str], None]
"""Called with (steps done, steps in all, what comes next), for a progress bar."""

COMPUTE_DTYPES: Final = ("float32", "float16")
PARITIES: Final = ("checkpoint", "reduced")
STEPS_PER_PART: Final = 2
PRODUCERS: Final = ("overpaint", "torch", "diffusers", "transformers", "onnx", "onnxscript")
_NOT_TAKEN: Final = ("safety_checker", "feature_extractor", "image_encoder")


def export_checkpoint(
    checkpoint: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    dtype: str = "float32",
    store: str | None = None,
    loras: Sequence[LoraChoice] = (),
    parity: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Manifest:
    """Export a diffusers folder, or the checkpoint of a hub id, to a bundle at `output`.

    `dtype` is what the graphs compute in (`float32`, `float16`); they take and give float32, and a
    VAE that overflows half precision stays in float32. `store` converts the weights that are
    written (`float32`, `float16`, `bfloat16`); without it the checkpoint's own files are linked.
    `loras` are fused, in order, each at its weight. `parity` is measured on the checkpoint's
    weights where they fit into memory, else on the same architecture at reduced size; saying which
    (`checkpoint`, `reduced`) overrides that.

    Raises:
        UsageError: an unknown dtype or parity.
        CheckpointError: the checkpoint is incomplete or of an unknown family, or a LoRA does not
            fit it.
        ParityError: a graph's numbers are not torch's; the message has the figures.
        OutputExistsError: `output` is there already and `force` is not set.
    """
    if dtype not in COMPUTE_DTYPES:
        raise UsageError(f"dtype: expected {' or '.join(COMPUTE_DTYPES)}, got {dtype!r}")
    if store is not None and store not in STORED_NAMES:
        raise UsageError(f"store: expected one of {', '.join(STORED_NAMES)}, got {store!r}")
    if parity not in (None, *PARITIES):
        raise UsageError(f"parity: expected {' or '.join(PARITIES)}, got {parity!r}")
    compute: DType = "float16" if dtype == "float16" else "float32"
    with new_bundle(output, force) as folder, quietly():
        source = open_checkpoint(checkpoint)
        facts = facts_of(
            configs_of(source), f"{source.name} {source.index.get('_name_or_path', '')}"
        )
        parts = _parts(source, compute)
        step = stepper(progress, STEPS_PER_PART * len(parts) + 3)
        step("reading the checkpoint")
        tensors = {part.source: source.weights(part.source).tensors() for part in parts}
        _write_configs(source, folder, parts)
        job = Job(source, tensors, folder, store, parity, step)
        components = {part.component: export_part(part, job) for part in parts}
        manifest = Manifest(
            name=source.name,
            family=facts.family,
            denoiser=facts.denoiser,
            components=components,
            latents=facts.latents,
            prediction=facts.prediction,
            text=facts.text,
            defaults=facts.defaults,
            source=Source(name=source.name, sha256=fingerprint(source, parts)),
            producers={name: version(name) for name in PRODUCERS},
            files={},
            guidance_embedding_width=facts.guidance_embedding_width,
        )
        step("fitting the preview")
        manifest = msgspec.structs.replace(manifest, preview=fit_preview(folder, manifest, decode))
        step("hashing files")
        return finish_bundle(folder, fuse_into(folder, manifest, loras) if loras else manifest)


def _parts(source: Checkpoint, compute: DType) -> list[Part]:
    """`parts_of` a checkpoint whose networks are of the classes that its family's are."""
    try:
        parts = parts_of(source, compute)
    except KeyError as error:
        raise CheckpointError(f"{source.name}: its configs lack {error}") from None
    for part in parts:
        if source.class_name(part.source) != part.class_name:
            raise CheckpointError(
                f"{part.source}: expected {part.class_name}, got "
                f"{source.class_name(part.source)}; its family is unknown"
            )
    return parts


@dataclass(frozen=True, slots=True)
class Job:
    """What all components' exports share.

    `tensors`: where the checkpoint's lie, by its component; `already` as `bind_into` has it.
    """

    source: Checkpoint
    tensors: Mapping[str, Mapping[str, Stored]]
    folder: Path
    store: str | None
    parity: str | None
    step: Callable[[str], None]
    already: dict[Path, Path] = field(default_factory=dict)


def export_part(part: Part, job: Job) -> Component:
    """One component: its graph and weights in place, and proven against torch."""
    job.step(f"{part.component}: tracing")
    template = trace(part)
    here = job.folder / part.component
    tensors = job.tensors[part.source]
    place_weights(template, tensors, here, store=job.store, already=job.already)
    measured_on = job.parity or ("checkpoint" if fit_memory(tensors) else "reduced")
    if measured_on == "reduced":
        job.step(f"{part.component}: comparing with torch at reduced size")
        parity = measure_reduced(part)
    else:
        job.step(f"{part.component}: comparing with torch")
        parity = measure(part, here, _reference(part, job))
    return Component(
        graph=layout.graph_path(part.component),
        inputs=part.inputs,
        outputs=part.outputs,
        ranges=part.ranges,
        compute_dtype=part.compute,
        parity=parity,
    )


def _reference(part: Part, job: Job) -> Reference:
    """What torch makes of the inputs. Its copy of the weights is gone before the engine's comes."""
    net = _load(part, job.source)
    if job.store is not None:  # what rounding the weights costs is the caller's choice
        net.to(getattr(torch, job.store)).to(torch.float32)
    return reference(part, net)


def _load(part: Part, source: Checkpoint) -> Any:
    variant = source.weights(part.source).variant
    return part.load(source.folder / part.source, variant)


def _write_configs(source: Checkpoint, folder: Path, parts: list[Part]) -> None:
    """What diffusers, transformers and optimum read beside the graphs."""
    index = source.index | {name: [None, None] for name in _NOT_TAKEN if name in source.index}
    (folder / layout.MODEL_INDEX).write_text(json.dumps(index, indent=2) + "\n", "utf-8")
    (folder / layout.SCHEDULER_CONFIG).parent.mkdir()
    shutil.copyfile(source.folder / layout.SCHEDULER_CONFIG, folder / layout.SCHEDULER_CONFIG)
    for part in parts:
        (folder / part.component).mkdir()
        config = source.folder / part.source / layout.CONFIG
        shutil.copyfile(config, folder / part.component / layout.CONFIG)
    for encoder, tokenizer in zip(layout.TEXT_ENCODERS, layout.TOKENIZERS, strict=True):
        if source.has(encoder):
            write_tokenizer(source.folder / tokenizer, folder / tokenizer)


def fingerprint(source: Checkpoint, parts: list[Part]) -> str:
    """SHA-256 over the name and the SHA-256 of every weight file that is exported."""
    files = sorted({file for part in parts for file in source.weights(part.source).files})
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.parent.name}/{file.name} {sha256_file(file)}\n".encode())
    return digest.hexdigest()


def stepper(progress: Progress | None, total: int) -> Callable[[str], None]:
    done = -1

    def step(doing: str) -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total, doing)

    return step
