"""`overpaint export` of a control network: a ControlNet's folder becomes a bundle of its own."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from overpaint.bundle import layout
from overpaint.bundle.checkpoint.folder import Checkpoint
from overpaint.bundle.control.facts import facts_of
from overpaint.bundle.control.importing import is_control_folder
from overpaint.bundle.errors import CheckpointError, UsageError
from overpaint.bundle.files.json import read_json
from overpaint.bundle.format.controlnet import ControlNet
from overpaint.bundle.format.manifest import Source
from overpaint.bundle.format.write import finish_bundle, new_bundle
from overpaint.bundle.tensor import DType
from overpaint.export.bundle import (
    COMPUTE_DTYPES,
    PRODUCERS,
    STEPS_PER_PART,
    Job,
    Progress,
    export_part,
    fingerprint,
    stepper,
)
from overpaint.export.part import Config, Part
from overpaint.export.quiet import quietly
from overpaint.export.weights import STORED_NAMES

from .networks import parts_of


def export_controlnet(
    checkpoint: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    dtype: str = "float32",
    store: str | None = None,
    parity: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> ControlNet:
    """Export the folder of a diffusers ControlNet to a bundle at `output`.

    `dtype`, `store`, `parity` and the errors are those of `export_checkpoint`.
    """
    if dtype not in COMPUTE_DTYPES:
        raise UsageError(f"dtype: expected {' or '.join(COMPUTE_DTYPES)}, got {dtype!r}")
    if store is not None and store not in STORED_NAMES:
        raise UsageError(f"store: expected one of {', '.join(STORED_NAMES)}, got {store!r}")
    folder, compute = Path(checkpoint).resolve(), _compute(dtype)
    if not is_control_folder(folder):
        raise CheckpointError(f"{checkpoint}: not a ControlNet's folder: no {layout.CONFIG}")
    config = read_json(folder / layout.CONFIG)
    source = Checkpoint(folder.parent, folder.name, {})
    with new_bundle(output, force) as bundle, quietly():
        parts = [replace(part, source=folder.name) for part in _parts(config, compute, folder.name)]
        step = stepper(progress, STEPS_PER_PART * len(parts) + 2)
        step("reading the network")
        tensors = {folder.name: source.weights(folder.name).tensors()}
        for part in parts:
            (bundle / part.component).mkdir()
            shutil.copyfile(folder / layout.CONFIG, bundle / part.component / layout.CONFIG)
        job = Job(source, tensors, bundle, store, parity, step)
        manifest = ControlNet(
            name=folder.name,
            **facts_of(config, folder.name),
            components={part.component: export_part(part, job) for part in parts},
            source=Source(name=folder.name, sha256=fingerprint(source, parts)),
            producers={name: version(name) for name in PRODUCERS},
            files={},
        )
        step("hashing files")
        return finish_bundle(bundle, manifest)


def _parts(config: Config, compute: DType, name: str) -> list[Part]:
    try:
        return parts_of(config, compute)
    except KeyError as error:
        raise CheckpointError(f"{name}: its config.json lacks {error}") from None


def _compute(dtype: str) -> DType:
    return "float16" if dtype == "float16" else "float32"
