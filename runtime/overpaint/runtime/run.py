"""One request, from picture and prompt to finished images: the stages, in the order they run."""

from __future__ import annotations

import functools
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from overpaint.engines import layout
from overpaint.engines.bundle import Bundle
from overpaint.engines.devices import Decision

from . import latents
from .cancel import Cancel, check
from .components import Components
from .feed import as_feed
from .guidance_embedding import guidance_embedding
from .image import ImageLike, from_pixels
from .loop import denoise
from .metadata import Painting, Parameters
from .noise import Generator as Noise
from .noise import generator
from .prepare import Job, check_context, prepare
from .result import Complete, Result, Step, StepTime, Timings
from .settings import Settings
from .stopwatch import Stopwatch
from .text import CONDITION, Conditioning, Prompting, Request, TextEncoders

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Engines:
    """What a run works with: a bundle, its sessions, its text encoders and what they remember."""

    bundle: Bundle
    components: Components
    text: TextEncoders
    decision: Decision | None


@dataclass(frozen=True, slots=True)
class Log:
    """What is noted while a run is under way."""

    watch: Stopwatch = field(default_factory=Stopwatch)
    steps: list[StepTime] = field(default_factory=list)


def run(
    engines: Engines,
    image: ImageLike | None,
    prompt: str,
    settings: Settings,
    cancel: Cancel | None,
) -> Iterator[Step | Complete]:
    """Yield a Step for each call of the denoiser, then Complete. `image` None: text to image."""
    log = Log()
    with log.watch.stage("read"):
        job = prepare(engines.bundle, image, prompt, settings)
    check(cancel)
    with log.watch.stage("text"):
        conditioning = _condition(engines, job, log)
    check(cancel)
    with log.watch.stage("encode"):
        moments = _encode(engines, job, log)
    finished = yield from _denoise(engines, job, conditioning, moments, log, cancel)
    check(cancel)
    with log.watch.stage("decode"):
        images = _decode(engines, finished, log)
    yield Complete(_result(engines, job, conditioning, images, log))


def _condition(engines: Engines, job: Job, log: Log) -> Conditioning:
    manifest = engines.bundle.manifest
    request = Request(
        prompt=job.prompt,
        negative_prompt=job.resolved.negative_prompt,
        guided=job.guided,
        size=job.size,
    )
    resolved, text = job.resolved, engines.text
    prompting = Prompting(chunks=resolved.prompt_chunks, weights=resolved.prompt_weights)
    prompts = [request.prompt, *([request.negative_prompt or ""] if request.guided else [])]
    chunks = text.chunks(manifest.text, prompts, prompting)
    encode = functools.partial(text.encode, watch=log.watch, prompting=prompting, chunks=chunks)
    conditioning = CONDITION[manifest.family](manifest.text, request, encode)
    check_context(manifest, conditioning.positive["encoder_hidden_states"].shape[1])
    return conditioning


def _encode(engines: Engines, job: Job, log: Log) -> Array | None:
    """The picture's moments (1,2C,h,w): the same for every image made from it."""
    if job.pixels is None:
        return None
    with engines.components.use(layout.VAE_ENCODER, log.watch) as session:
        return latents.moments(session.run(as_feed(session, {"sample": job.pixels})))


def _denoise(
    engines: Engines,
    job: Job,
    conditioning: Conditioning,
    moments: Array | None,
    log: Log,
    cancel: Cancel | None,
) -> Generator[Step, None, list[Array]]:
    """Yield the steps of all images, `job.batch` at a time; return their latents (b,C,h,w)."""
    manifest, seeds = engines.bundle.manifest, job.resolved.seeds
    groups = [
        [generator(job.resolved.rng, seed) for seed in seeds[first : first + job.batch]]
        for first in range(0, len(seeds), job.batch)
    ]
    finished = [_start(engines, job, moments, noises) for noises in groups]
    if not job.schedule.rows:
        return finished
    total = len(job.schedule.rows) * len(groups)
    with engines.components.use(manifest.denoiser, log.watch) as session:
        for i, noises in enumerate(groups):
            rows = denoise(
                session,
                finished[i],
                job.schedule,
                _constants(engines, job, conditioning, len(noises)),
                guidance_scale=job.resolved.guidance_scale if job.guided else None,
                draw=functools.partial(_fill, noises),
                cancel=cancel,
            )
            for row in rows:
                log.steps.append(row.time)
                finished[i] = row.state.x
                with log.watch.away():
                    yield Step(
                        index=len(log.steps),
                        total=total,
                        prediction=row.prediction(),
                        factors=manifest.preview,
                    )
    return finished


def _constants(
    engines: Engines, job: Job, conditioning: Conditioning, n: int
) -> dict[str, npt.NDArray[Any]]:
    """The denoiser's inputs that stay the same through the loop, for n images."""
    constants = conditioning.batch(n)
    width = engines.bundle.manifest.guidance_embedding_width
    if width is not None:
        embedding = guidance_embedding(job.resolved.guidance_scale, width)
        constants["timestep_cond"] = np.repeat(embedding, n, axis=0)
    return constants


def _start(engines: Engines, job: Job, moments: Array | None, noises: list[Noise]) -> Array:
    """The latents that the loop starts from: the picture with noise in it, or noise alone."""
    manifest, schedule = engines.bundle.manifest, job.schedule
    shape = job.latent_shape(manifest)
    if moments is None:
        return _draw(noises, shape) * np.float32(schedule.initial)
    # Image by image posterior first, then noise: a generator's order in diffusers.
    z = latents.encode(moments, _draw(noises, shape), manifest.latents)
    if not schedule.rows:
        return z
    return z * np.float32(schedule.signal) + _draw(noises, shape) * np.float32(schedule.noise)


def _draw(noises: list[Noise], shape: tuple[int, ...]) -> Array:
    """Noise (B,C,h,w) for latents of `shape` (C,h,w)."""
    out = np.empty((len(noises), *shape), np.float32)
    _fill(noises, out)
    return out


def _fill(noises: list[Noise], out: Array) -> None:
    """Each image's noise from its own generator, so that no image depends on its batch."""
    for noise, one in zip(noises, out, strict=True):
        noise.fill(one)


def _decode(engines: Engines, finished: list[Array], log: Log) -> list[Image.Image]:
    """One image at a time: the decoder is where memory peaks, and batches do not speed it up."""
    images: list[Image.Image] = []
    with engines.components.use(layout.VAE_DECODER, log.watch) as session:
        for z in np.concatenate(finished):
            sample = latents.decode(z[None], engines.bundle.manifest.latents)
            pixels = session.run(as_feed(session, {"latent_sample": sample}))["sample"]
            images += from_pixels(pixels)
    return images


def _result(
    engines: Engines, job: Job, conditioning: Conditioning, images: list[Image.Image], log: Log
) -> Result:
    resolved, manifest, stages = job.resolved, engines.bundle.manifest, log.watch.stages
    devices = dict(engines.components.devices)
    parameters = [
        Parameters(
            prompt=job.prompt,
            negative_prompt=resolved.negative_prompt,
            strength=resolved.strength,
            steps=resolved.steps,
            steps_run=job.schedule.executed,
            steps_mode=resolved.steps_mode,
            guidance_scale=resolved.guidance_scale,
            sampler=resolved.sampler,
            sigmas=resolved.sigmas,
            seed=seed,
            rng=resolved.rng,
            size=job.size,
            resize=None if resolved.strength is None else resolved.resize,
            mode=resolved.mode,
            preset=resolved.preset,
            prompt_chunks=resolved.prompt_chunks,
            prompt_weights=resolved.prompt_weights,
            model=manifest.name,
            model_sha256=manifest.source.sha256,
            device=devices.get(manifest.denoiser, devices[layout.VAE_DECODER]),
        )
        for seed in resolved.seeds
    ]
    cut = tuple(
        f"the prompt is too long for the text encoder; cut: {c!r}" for c in conditioning.cut
    )
    return Result(
        images=tuple(Painting.of(*pair) for pair in zip(images, parameters, strict=True)),
        seeds=resolved.seeds,
        steps_run=parameters[0].steps_run,
        timings=Timings(
            total=log.watch.total,
            load=stages.get("load", 0.0),
            read=stages["read"],
            text=stages["text"],
            encode=stages["encode"],
            decode=stages["decode"],
            steps=tuple(log.steps),
        ),
        devices=devices,
        decision=engines.decision,
        warnings=(*engines.bundle.inferred, *job.warnings, *cut),
        parameters=parameters[0],
    )
