"""What a bundle is, what it was made from, and what will run it here: plain values, no text layout.

`overpaint info` renders them, `--json` prints them as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

from overpaint.bundle import layout
from overpaint.bundle.control.beside import fitting_networks
from overpaint.bundle.control.extend import networks_of
from overpaint.bundle.control.open import ControlBundle
from overpaint.bundle.facts import Defaults, Latents, Text
from overpaint.bundle.files.json import read_json
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.manifest import Adapter, Component, Lora, Parity, Source
from overpaint.bundle.format.manifest_file import AnyManifest
from overpaint.bundle.ip_adapter.attach import Sees, sees

from .backend import Candidate
from .choose import candidates
from .tensorrt.weightless import kept_plans


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentInfo:
    """One engine. Sizes are bytes; `weight_bytes` counts what its graph points into.

    `inputs` and `outputs` are written like `sample float32 (batch, 4, height, width)`. `error` is
    the parity's quotient max|Δ| / max|reference|.
    """

    name: str
    graph_bytes: int
    weight_bytes: int
    compute_dtype: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parity: Parity | None
    error: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A bundle on this machine. `total_bytes` counts a file once, though two folders have it.

    `controls`: the control networks in it. `controllable_by`: the folders beside it of control
    networks that fit.
    `inpaints`: the denoiser is shown the mask and the masked picture, as inpainting checkpoints'.
    `weightless` are folders of the user's cache with plans that have no weights.
    `ip_adapter`: through which its denoiser sees reference pictures; `sees`: which IP-Adapters fit.
    `scheduler` is the class that scheduler_config.json names, which the sampler "default" runs.
    `inferred` is empty for a bundle with a manifest. `devices` are best first, then those that
    run on request only; `runs_on` is what "auto" takes, None where nothing installed can run it.
    """

    folder: str
    name: str
    format_version: int
    family: str
    denoiser: str
    prediction: str
    inpaints: bool
    controls: tuple[str, ...]
    controllable_by: tuple[str, ...]
    components: tuple[ComponentInfo, ...]
    latents: Latents
    text: Text
    defaults: Defaults
    scheduler: str
    guidance_embedding_width: int | None
    takes_guidance: bool
    source: Source
    loras: tuple[Lora, ...]
    ip_adapter: Adapter | None
    sees: Sees | None
    producers: dict[str, str]
    plans: tuple[str, ...]
    weightless: tuple[str, ...]
    files: int
    total_bytes: int
    inferred: tuple[str, ...]
    devices: tuple[Candidate, ...]
    runs_on: str | None


def describe(bundle: Bundle) -> Description:
    """Gather what there is to say about `bundle`; `msgspec.to_builtins` makes JSON of it."""
    manifest = bundle.manifest
    considered = candidates(bundle)
    eligible = [one.device for one in considered if one.available and not one.on_request]
    return Description(
        folder=str(bundle.folder),
        name=manifest.name,
        format_version=manifest.version,
        family=manifest.family,
        denoiser=manifest.denoiser,
        prediction=manifest.prediction,
        inpaints=manifest.inpaints,
        controls=tuple(networks_of(bundle)),
        controllable_by=tuple(str(folder) for folder in fitting_networks(bundle)),
        components=tuple(_component(*entry, manifest) for entry in manifest.components.items()),
        latents=manifest.latents,
        text=manifest.text,
        defaults=manifest.defaults,
        scheduler=str(read_json(bundle.path(layout.SCHEDULER_CONFIG)).get("_class_name")),
        guidance_embedding_width=manifest.guidance_embedding_width,
        takes_guidance=manifest.takes_guidance,
        source=manifest.source,
        loras=manifest.loras,
        ip_adapter=manifest.ip_adapter,
        sees=sees(bundle),
        producers=manifest.producers,
        plans=tuple(path for path in manifest.files if path.endswith(".plan")),
        weightless=tuple(str(plans.folder) for plans in kept_plans(bundle)),
        files=len(manifest.files),
        total_bytes=_total(bundle),
        inferred=bundle.inferred,
        devices=considered,
        runs_on=eligible[0] if eligible else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlDescription:
    """A control network. `types`: how many kinds of picture a union network tells apart."""

    folder: str
    name: str
    format_version: int
    family: str
    types: int | None
    global_pool: bool
    components: tuple[ComponentInfo, ...]
    source: Source
    producers: dict[str, str]
    files: int


def describe_controlnet(network: ControlBundle) -> ControlDescription:
    """Gather what there is to say about a control network."""
    manifest = network.manifest
    return ControlDescription(
        folder=str(network.folder),
        name=manifest.name,
        format_version=manifest.version,
        family=manifest.family,
        types=manifest.types,
        global_pool=manifest.global_pool,
        components=tuple(_component(*entry, manifest) for entry in manifest.components.items()),
        source=manifest.source,
        producers=manifest.producers,
        files=len(manifest.files),
    )


def _component(name: str, component: Component, manifest: AnyManifest) -> ComponentInfo:
    folder = component.graph.rpartition("/")[0]
    weights = [
        file.size
        for path, file in manifest.files.items()
        if file.weights and path.startswith(f"{folder}/")
    ]
    parity = component.parity
    return ComponentInfo(
        name=name,
        graph_bytes=manifest.files[component.graph].size,
        weight_bytes=sum(weights),
        compute_dtype=component.compute_dtype,
        inputs=tuple(str(tensor) for tensor in component.inputs),
        outputs=tuple(str(tensor) for tensor in component.outputs),
        parity=parity,
        error=_quotient(parity) if parity else None,
    )


def _quotient(parity: Parity) -> float | None:
    reference = parity.max_abs_reference
    return parity.max_abs_error / reference if reference else None


def _total(bundle: Bundle) -> int:
    statuses = [(bundle.folder / path).stat() for path in bundle.manifest.files]
    return sum({(one.st_dev, one.st_ino): one.st_size for one in statuses}.values())
