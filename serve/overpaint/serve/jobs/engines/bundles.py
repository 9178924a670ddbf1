"""Bundles on disk as models to serve."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from overpaint.bundle import layout
from overpaint.bundle.control.extend import misfit
from overpaint.bundle.control.open import ControlBundle, open_controlnet
from overpaint.bundle.embeddings.extend import misfit as embedding_misfit
from overpaint.bundle.embeddings.extend import with_embeddings
from overpaint.bundle.errors import FeedError, OverpaintError, UsageError
from overpaint.bundle.files.hashing import sha256_file
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.controlnet import ControlNet
from overpaint.bundle.format.manifest import Manifest
from overpaint.bundle.format.manifest_file import encode
from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.ip_adapter.attach import sees
from overpaint.bundle.ip_adapter.bundle import open_adapter
from overpaint.bundle.lora.live import check_live
from overpaint.engines.backends import BACKENDS
from overpaint.engines.choose import check_device
from overpaint.runtime.choices import SIGMAS
from overpaint.runtime.default_bundle import bundle_or_default
from overpaint.runtime.ip_adapter.open import open_seeing
from overpaint.runtime.lora.find import loras_in
from overpaint.runtime.pipeline import Img2Img
from overpaint.runtime.prepare import image_sides
from overpaint.runtime.schedule import SAMPLERS, make_schedule, read_scheduler_config
from overpaint.runtime.warming import warm_up
from overpaint.scale.places import is_remote
from overpaint.scale.weights import local_copy

from .models import Served
from .price import Price, measure, measure_on_device
from .worker import Pipeline

COMMON_SIDE = 512

log = logging.getLogger("overpaint.serve")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """How bundles are opened. `device`, `precision` and `gpu_memory` as in `Img2Img.open`; `sizes`,
    (width, height), are painted before the first job. Without any it is the bundle's native one
    where a size's first runs have work of their own to do (docs/cuda.md, docs/tensorrt.md), as far
    as its engines take it, and none elsewhere: TensorRT's sessions do that work for each size of
    their plans as they open, and a processor has none. `ip_adapters`: folders, of which each bundle
    sees reference pictures through the first that fits it. `control`: folders of control networks,
    each opened with the bundles that it is for.

    `tiny_vae`: the tiny autoencoder that is opened beside every bundle. `upscaler`: likewise, the
    network by which jobs with `upscale` are enlarged.

    LoRAs in `lora_folder` are opened when a job gives them a weight. `embeddings`: textual
    inversions by their words, which are those of each bundle whose text encoders they are for.

    Raises UsageError where device and precision are unknown or do not go together.
    """

    device: str = "auto"
    precision: str = "f32"
    gpu_memory: int | None = None
    control: tuple[Path, ...] = ()
    sizes: tuple[tuple[int, int], ...] = ()
    ip_adapters: tuple[Path, ...] = ()
    tiny_vae: Path | None = None
    upscaler: Path | None = None
    lora_folder: Path | None = None
    embeddings: Mapping[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_device(self.device, self.precision, self.gpu_memory)


def served_bundle(at: Path | None, opening: Opening) -> Served:
    """The bundle that lies `at` a path or a URL, named after its folder; None is the embedded
    model. One that lies elsewhere is fetched, once for all processes of this machine. No engine is
    opened yet. Raises BundleError, and UsageError for sizes that it cannot paint."""
    path = local_copy(str(at)) if at and is_remote(at) else at
    bundle = open_bundle(bundle_or_default(path))
    loras = fitting_loras(bundle, opening.lora_folder, embedded=path is None)
    words = fitting_embeddings(bundle, opening.embeddings)
    if words:
        bundle = open_bundle(with_embeddings(bundle, words))
    manifest, side = bundle.manifest, native_side(bundle)
    networks = fitting_networks(bundle, opening.control)
    name = (at if is_remote(at) else at.resolve()).name if at else manifest.name
    for size in opening.sizes:
        try:
            image_sides(manifest).check(size)
        except UsageError as error:
            raise UsageError(f"--warm-up: {name}: {error}") from None
    adapter = fitting_adapter(bundle, opening.ip_adapters)
    if adapter is not None and networks:
        raise UsageError(
            f"--control, --ip-adapter: {name} fits both, and is served with one of them"
        )
    seeing = None if adapter is None else open_seeing(bundle, adapter)
    return Served(
        name=name,
        manifest=manifest,
        fingerprint=fingerprint(seeing or bundle, networks, opening.upscaler),
        bytes=weight_bytes(manifest, "")
        + (weight_bytes(manifest, manifest.denoiser) if loras else 0)  # which is open twice
        + (weight_bytes(seeing.manifest, "") if seeing else 0)
        + sum(weight_bytes(one.manifest, "") for one in networks),
        controls={one.folder.resolve().name: one.manifest.types for one in networks},
        side=side,
        samplers=samplers_of(bundle),
        open=lambda: open_warm(path, opening, (side, side), adapter, networks, words),
        adapter=adapter,
        loras=loras,
        measure=lambda pipeline: priced(pipeline, manifest, side),
    )


def fitting_adapter(bundle: Bundle, adapters: tuple[Path, ...]) -> Path | None:
    """The first of the adapters in these folders that fits the denoiser of `bundle`.

    Raises BundleError where one is no adapter's."""
    wanted = sees(bundle)
    for folder in adapters:
        told = open_adapter(folder).manifest
        if wanted and (wanted.attentions, wanted.width) == (len(told.attentions), told.width):
            return folder
    return None


def fitting_loras(bundle: Bundle, folder: Path | None, *, embedded: bool) -> tuple[str, ...]:
    """The names of the LoRAs that `bundle` can be turned by; of the others the log tells why not.
    Raises UsageError where `folder` is none."""
    fitting = []
    for name, file in loras_in(folder, embedded=embedded).items():
        try:
            check_live(bundle, file)
        except OverpaintError as error:
            log.info("%s: not for %s: %s", name, bundle.manifest.name, error)
        else:
            fitting.append(name)
    return tuple(fitting)


def fitting_embeddings(bundle: Bundle, files: Mapping[str, Path]) -> dict[str, Path]:
    """Those textual inversions that are for this bundle's text encoders; of the others the log
    tells why not. Raises CheckpointError where one is none."""
    fitting = {}
    for word, file in files.items():
        if (why := embedding_misfit(bundle, file)) is None:
            fitting[word] = file
        else:
            log.info("%s: not for %s: %s", word, bundle.manifest.name, why)
    return fitting


def weight_bytes(manifest: Manifest | ControlNet, component: str) -> int:
    """Of the weight files of one component, or with an empty name of all."""
    return sum(
        file.size
        for path, file in manifest.files.items()
        if file.weights and path.startswith(component)
    )


def fitting_networks(bundle: Bundle, folders: Sequence[Path]) -> list[ControlBundle]:
    """The control networks in `folders` that are for denoisers like this bundle's."""
    opened = [open_controlnet(folder) for folder in folders]
    return [one for one in opened if misfit(bundle.manifest, one.manifest) is None]


def fingerprint(
    bundle: Bundle, networks: Sequence[ControlBundle] = (), upscaler: Path | None = None
) -> str:
    """A hash over all that decides a picture: the manifest, which has the hash of every file, and
    where there is no manifest the times of the files; those of its control networks, and the
    upscaler's."""
    digest = hashlib.sha256(encode(bundle.manifest))
    for network in networks:
        digest.update(encode(network.manifest))
    if upscaler is not None:
        digest.update(sha256_file(upscaler).encode())
    for path, file in sorted(bundle.manifest.files.items()):
        if not file.sha256:
            digest.update(f"{path} {(bundle.folder / path).stat().st_mtime_ns}\n".encode())
    return digest.hexdigest()


def priced(pipeline: Pipeline, manifest: Manifest, side: int) -> Price | None:
    """What jobs cost, of this machine's memory or of its GPU's; None where that does not tell."""
    decision, sides = cast(Img2Img, pipeline).decision, image_sides(manifest)
    backend = None if decision is None else BACKENDS[decision.chosen.device]
    if backend is not None and backend.in_host_memory:
        return measure(pipeline, manifest, sides, side)
    if backend is not None and backend.free_memory is not None:
        return measure_on_device(pipeline, manifest, sides, side, backend.free_memory)
    return None


def open_warm(
    path: Path | None,
    opening: Opening,
    native: tuple[int, int],
    adapter: Path | None = None,
    networks: Sequence[ControlBundle] = (),
    words: Mapping[str, Path] | None = None,
) -> Pipeline:
    """Open every engine and paint what `opening` says: the first job is as fast as any."""
    pipeline = Img2Img.open(
        path,
        ip_adapter=adapter,
        embedding=words,
        control=[one.folder for one in networks],
        device=opening.device,
        precision=opening.precision,
        gpu_memory=opening.gpu_memory,
        lora_folder=opening.lora_folder,
        tiny_vae=opening.tiny_vae,
        upscaler=opening.upscaler,
    )
    try:
        pipeline.wait()
        decision = pipeline.decision
        settles = decision is not None and BACKENDS[decision.chosen.device].settles
        sizes = opening.sizes or ((native,) if settles else ())
        began = time.monotonic()
        try:
            warm_up(pipeline, *sizes)
        except FeedError as error:  # plans may be for other sizes
            if opening.sizes:
                raise
            log.info("not warmed up: %s", error)
            sizes = ()
        if sizes:
            painted = ", ".join(f"{width}x{height}" for width, height in sizes)
            log.info("warmed up for %s in %.1f s", painted, time.monotonic() - began)
    except BaseException:
        pipeline.close()
        raise
    return cast(Pipeline, pipeline)


def native_side(bundle: Bundle) -> int:
    """The side in pixels of the pictures that the denoiser was trained on (diffusers' sample_size
    in its config.json), as far as the engines take it; 512 where nothing says."""
    manifest = bundle.manifest
    try:
        config = json.loads((bundle.folder / manifest.denoiser / layout.CONFIG).read_bytes())
        side = int(config["sample_size"]) * manifest.latents.downscale
    except (OSError, ValueError, LookupError, TypeError):
        side = COMMON_SIDE
    return image_sides(manifest).nearest((side, side))[0]


def samplers_of(bundle: Bundle) -> dict[str, tuple[str, ...]]:
    """The samplers that run this bundle's checkpoint, each with its sigmas: those of which a
    schedule can be made."""
    config = read_scheduler_config(bundle.folder / layout.SCHEDULER_CONFIG)

    def runs(sampler: str, sigmas: str) -> bool:
        try:
            make_schedule(
                config,
                steps=4,
                strength=None,
                sampler=sampler,
                sigmas=sigmas,
                steps_mode="diffusers",
                rounding="down",
                image_tokens=1024,
            )
        except UsageError:
            return False
        return True

    found = {sampler: tuple(one for one in SIGMAS if runs(sampler, one)) for sampler in SAMPLERS}
    return {sampler: sigmas for sampler, sigmas in found.items() if sigmas}
