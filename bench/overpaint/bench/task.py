"""One point that is measured: what is asked of every contender, and what it then has done."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import msgspec

from overpaint.bundle import layout
from overpaint.bundle.checkpoint.safetensors import read_header
from overpaint.bundle.errors import UsageError
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.manifest import Manifest
from overpaint.runtime.fidelity import EXACT

from .conversation import Opened
from .records import Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Everything that a contender is told but where things lie. `device` is ours to choose.

    `precision`: "f32" is what the bundle says; "bf16" lowers ours on OpenVINO, and torch's peers.
    """

    prompt: str
    size: tuple[int, int]
    images: int
    steps: int
    strength: float
    guidance_scale: float
    sampler: str
    seed: int
    device: str
    precision: str


def own_size(bundle: Bundle) -> tuple[int, int]:
    """The size that the denoiser was trained at: its config's `sample_size`, in pixels."""
    path = bundle.folder / bundle.manifest.denoiser / layout.CONFIG
    side = json.loads(path.read_text("utf-8")).get("sample_size") if path.is_file() else None
    if not isinstance(side, int):
        raise UsageError("--size: this bundle does not say what it was trained at; give one")
    return (side * bundle.manifest.latents.downscale,) * 2


def job(
    task: Task, bundle: Bundle, checkpoint: Path | None, image: Path, picture: Path, threads: int
) -> dict[str, Any]:
    """The line that a contender's process is given."""
    manifest = bundle.manifest

    def dtype(component: str) -> str:
        own: str = manifest.components[component].compute_dtype
        return "bfloat16" if task.precision == "bf16" else own

    return {
        **{field.name: getattr(task, field.name) for field in fields(task)},
        "bundle": str(bundle.folder.absolute()),
        "folder": str((checkpoint or bundle.folder).absolute()),
        "image": str(image),
        "picture": str(picture),
        "threads": threads,
        "dtype": dtype(manifest.denoiser),
        "vae_dtype": dtype(layout.VAE_DECODER),
        "torch_device": torch_device(task),
        "steps_mode": None,
        "ahead": 0,
        "fidelity": EXACT,
    }


def torch_device(task: Task) -> str:
    """Where peers run it."""
    return "cuda" if task.device in ("cuda", "tensorrt", "tensorrt-rtx") else "cpu"


def work_done(
    task: Task, manifest: Manifest, image_sha256: str, opened: Opened, stored: dict[str, str]
) -> Work:
    """What was asked, joined with what the contender says that it did."""
    did = opened.did
    return Work(
        model=manifest.name,
        model_sha256=manifest.source.sha256,
        family=manifest.family,
        prompt=task.prompt,
        image_sha256=image_sha256,
        size=tuple(did["size"]),
        images=did["images"],
        steps=task.steps,
        denoiser_calls=did["denoiser_calls"],
        strength=task.strength,
        guidance_scale=task.guidance_scale,
        guidance=did["guidance"],
        sampler=task.sampler,
        seed=task.seed,
        precision=did["precision"],
        stored=stored,
    )


def differences(one: Work, other: Work) -> list[str]:
    """What two runs did not do alike, as `steps: 10 and 20`. Empty: the same work."""
    left, right = msgspec.structs.asdict(one), msgspec.structs.asdict(other)
    return [f"{k}: {left[k]} and {right[k]}" for k in left if left[k] != right[k]]


def stored_precision(bundle: Bundle) -> dict[str, str]:
    """How each component's weights lie in their files: `F16`, or `F16+F32` where they differ."""
    found = {}
    for name in bundle.manifest.components:
        dtypes = {
            tensor.dtype
            for path in sorted((bundle.folder / name).glob("*.safetensors"))
            for tensor in read_header(path)[0].values()
        }
        found[name] = "+".join(sorted(dtypes - {"I64"}))
    return found
