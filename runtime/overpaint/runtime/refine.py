"""A second checkpoint finishes what the first began: SDXL's base, then its refiner, as one run.

The latents are handed over as they are, noise and all; nothing is decoded on the way. Source:
Podell et al. 2023, "SDXL", section 2.5; diffusers' `denoising_end` and `denoising_start`.
"""

from __future__ import annotations

from dataclasses import replace

from overpaint.bundle.errors import UsageError
from overpaint.bundle.format.bundle import Bundle

from .prepare import Job, batch_size, image_sides, negative_scale, schedule_for, schedule_warnings
from .request import Refiner, Request


def base_request(request: Request, refiner: Refiner) -> Request:
    """`request` for the checkpoint that begins. Raises UsageError where it ends the way itself."""
    if request.settings.denoising_end is not None:
        raise UsageError("denoising_end: with a refiner the base ends at hand_over; leave it out")
    return replace(
        request, settings=replace(request.settings, denoising_end=refiner.hand_over), refiner=None
    )


def refiner_job(base: Bundle, job: Job, refiner: Refiner) -> Job:
    """What is left of `job`, the base's, for the refiner: the very rows that the base leaves out.

    Raises UsageError where the two do not fit together, or either has nothing to do.
    """
    bundle = refiner.engines.bundle
    theirs, ours = base.manifest.latents, bundle.manifest.latents
    if theirs != ours:
        raise UsageError(
            f"refiner: expected latents like those of {base.manifest.name} ({theirs.channels} "
            f"channels, scaled by {theirs.scaling}); those of {bundle.manifest.name} are "
            f"{ours.channels}, scaled by {ours.scaling}"
        )
    image_sides(bundle.manifest).check(job.seen)
    resolved = replace(
        job.resolved,
        steps=job.schedule.requested,
        steps_mode="diffusers",
        denoising_start=refiner.hand_over,
        denoising_end=None,
    )
    schedule = schedule_for(bundle, resolved, job.seen)
    if schedule.sampler != job.schedule.sampler:
        raise UsageError(
            f"sampler: {base.manifest.name} would run {job.schedule.sampler} and the refiner "
            f"{schedule.sampler}, which scale noise differently; name one for both"
        )
    if not job.schedule.rows or not schedule.rows:
        idle = "the refiner" if job.schedule.rows else base.manifest.name
        raise UsageError(
            f"hand_over: at {refiner.hand_over:g}, {idle} has none of the {resolved.steps} steps "
            "to run; choose another hand_over, more steps, or another strength"
        )
    guided = negative_scale(bundle.manifest, resolved) > 1
    return replace(
        job,
        resolved=resolved,
        pixels=None,
        references=None,
        controlling=(),
        schedule=schedule,
        guided=guided,
        batch=batch_size(bundle.manifest, resolved.settings.pictures, guided),
        warnings=schedule_warnings(schedule, resolved),
    )
