"""What a finished run tells about itself: the parameters of each image, and the Result."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from overpaint.bundle.format.manifest import Adapter, Lora

from .engines import SEEING
from .metadata import Painting, Parameters
from .prompt_warnings import prompt_warnings
from .result import Result, Timings
from .stage import Log, Stage


def result(stages: Sequence[Stage], images: Sequence[Image.Image], log: Log) -> Result:
    """The Result of `stages`: a base's, and a refiner's where there is one."""
    base, seconds = stages[0], log.watch.stages
    devices = _devices(stages)
    resolved = base.job.resolved
    parameters = [
        _parameters(stages, devices, *pair)
        for pair in zip(resolved.seeds, resolved.variation_seeds, strict=True)
    ]
    warnings = [
        warning
        for stage in stages
        for warning in (*stage.engines.bundle.inferred, *stage.job.warnings)
    ]
    warnings += prompt_warnings(base.engines, base.job)
    cut = dict.fromkeys(cut for stage in stages for cut in stage.conditioning.cut)
    warnings += [f"the prompt is too long for the text encoder; cut: {c!r}" for c in cut]
    return Result(
        images=tuple(Painting.of(*pair) for pair in zip(images, parameters, strict=True)),
        seeds=base.job.resolved.seeds,
        steps_run=parameters[0].steps_run,
        evaluations=log.tally.evaluations,
        exact_evaluations=sum(stage.evaluations for stage in stages),
        timings=Timings(
            total=log.watch.total,
            load=seconds.get("load", 0.0),
            read=seconds["read"],
            text=seconds["text"],
            encode=seconds["encode"],
            decode=seconds["decode"],
            steps=tuple(log.steps),
        ),
        devices=devices,
        decision=base.engines.decision,
        warnings=tuple(warnings),
        parameters=parameters[0],
    )


def _devices(stages: Sequence[Stage]) -> dict[str, str]:
    """What ran each component; a refiner's are called `refiner/unet` and so on."""
    devices = dict(stages[0].engines.components.devices)
    for stage in stages[1:]:
        used = stage.engines.components.devices
        devices |= {f"refiner/{name}": device for name, device in used.items()}
    return devices


def _parameters(
    stages: Sequence[Stage], devices: dict[str, str], seed: int, variation_seed: int | None
) -> Parameters:
    base = stages[0]
    manifest, decision = base.engines.bundle.manifest, base.engines.decision
    references = base.job.references
    seeing = _adapter(base)
    refiner = stages[1].engines.bundle.manifest if len(stages) > 1 else None
    upscaler = base.engines.enlarging(base.job.resolved.settings)
    return Parameters(
        prompt=base.job.prompt,
        resolved=base.job.resolved,
        seed=seed,
        variation_seed=variation_seed,
        image_sha256=base.job.image_sha256,
        mask_sha256=base.job.mask_sha256,
        upscaler=upscaler.name if upscaler else None,
        upscaler_sha256=upscaler.sha256 if upscaler else None,
        ip_adapter=seeing.name if seeing else None,
        ip_adapter_sha256=seeing.sha256 if seeing else None,
        ip_adapter_image_sha256=references.sha256 if references else (),
        ip_adapter_mask_sha256=references.mask_sha256 if references else (),
        reference_image_sha256=base.job.beside.sha256,
        control=tuple(one.told() for one in base.job.controlling),
        steps_run=sum(stage.job.schedule.executed for stage in stages),
        sampler_run=base.job.schedule.sampler,
        guidance=_guidance(base),
        size=base.job.size,
        model=manifest.name,
        model_sha256=manifest.source.sha256,
        embeddings=manifest.embeddings,
        loras=(*manifest.loras, *_turned(base)),
        refiner=refiner.name if refiner else None,
        refiner_sha256=refiner.source.sha256 if refiner else None,
        hand_over=base.job.resolved.denoising_end if refiner else None,
        precision=_precision(base),
        device=_device(devices, base),
        passed_over=tuple(better.device for better in decision.passed_over) if decision else (),
    )


def _device(devices: dict[str, str], base: Stage) -> str:
    """What ran the denoiser, or where it had nothing to do, the VAE."""
    name = SEEING if base.job.references else base.engines.bundle.manifest.denoiser
    _, decoder = base.engines.vae(base.job.resolved.settings.vae)
    return devices.get(name) or devices[decoder]


def _turned(base: Stage) -> tuple[Lora, ...]:
    adapters = base.engines.adapters
    return () if adapters is None else adapters.used(base.job.lora)


def _guidance(base: Stage) -> str:
    if base.job.guided:
        return "classifier-free"
    return "embedded" if base.engines.bundle.manifest.takes_guidance else "none"


def _adapter(base: Stage) -> Adapter | None:
    """What reference pictures were seen through."""
    seeing = base.engines.seeing
    return seeing.manifest.ip_adapter if seeing and base.job.references else None


def _precision(base: Stage) -> str:
    manifest, decision = base.engines.bundle.manifest, base.engines.decision
    if decision is not None and decision.precision == "int8":
        return "int8"
    if decision is not None and decision.precision == "bf16":
        return "bfloat16"
    return manifest.components[manifest.denoiser].compute_dtype
