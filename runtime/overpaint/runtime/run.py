"""One request, from picture and prompt to finished images: the stages, in the order they run."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from overpaint.bundle import layout
from overpaint.bundle.families import FAMILIES

from . import latents
from .cancel import Cancel, check
from .denoiser import Denoiser
from .denoiser.engine import EngineCalls
from .denoiser.guidance import guided, unguided
from .denoiser.guidance_embedding import guidance_embedding
from .engines import Engines
from .feed import as_feed
from .image import from_pixels
from .loop import denoise
from .memory import check_memory
from .noise import Generator as Noise
from .noise import generator
from .prepare import VAE_LATENTS, Job, check_context, prepare
from .refine import base_request, refiner_job
from .report import result
from .request import Request
from .result import Complete, Step, StepTime
from .stage import Log, Stage
from .text import CONDITION, Conditioning, Prompting, Prompts
from .text.t5 import with_t5_length

Array = npt.NDArray[np.float32]


def run(
    engines: Engines, request: Request, cancel: Cancel | None = None
) -> Iterator[Step | Complete]:
    """Yield a Step for each call of a denoiser, then Complete.

    Raises UsageError, ImageError, SessionError, CancelledError; UsageError too where the engines
    are in another run.
    """
    with contextlib.ExitStack() as held:
        held.enter_context(engines.alone())
        if request.refiner is not None:
            held.enter_context(request.refiner.engines.alone())
        log = Log()
        with log.watch.stage("read"):
            jobs = _read(engines, request)
        check_memory(jobs)
        check(cancel)
        with log.watch.stage("text"):
            stages = [Stage(*pair, _encode_text(*pair, log)) for pair in jobs]
        check(cancel)
        with log.watch.stage("encode"):
            moments = _encode_picture(stages[0], log)
        x, noises = _noise(stages[0], moments)
        total = sum(stage.calls for stage in stages)
        for stage in stages:
            yield from _denoise(stage, x, noises, total, log, cancel)
        check(cancel)
        with log.watch.stage("decode"):
            images = _decode(stages[-1].engines, x, log)
        yield Complete(result(stages, images, log))


def _read(engines: Engines, request: Request) -> list[tuple[Engines, Job]]:
    """Who does what: one job, or the base's and the refiner's."""
    refiner = request.refiner
    if refiner is None:
        return [(engines, prepare(engines.bundle, request))]
    job = prepare(engines.bundle, base_request(request, refiner))
    return [(engines, job), (refiner.engines, refiner_job(engines.bundle, job, refiner))]


def _encode_text(engines: Engines, job: Job, log: Log) -> Conditioning:
    manifest, settings, text = engines.bundle.manifest, job.resolved.settings, engines.text
    prompts = Prompts(
        prompt=job.prompt,
        negative_prompt=settings.negative_prompt,
        guided=job.guided,
        size=job.size,
    )
    prompting = Prompting(chunks=settings.prompt_chunks, weights=settings.prompt_weights)
    both = [prompts.prompt, *([prompts.negative_prompt or ""] if prompts.guided else [])]
    wanted = with_t5_length(manifest.text, settings.max_sequence_length)
    chunks = text.chunks(wanted, both, prompting)
    encode = functools.partial(text.encode, watch=log.watch, prompting=prompting, chunks=chunks)
    conditioning = CONDITION[manifest.family](wanted, prompts, encode)
    context = FAMILIES[manifest.family].denoiser.context
    check_context(manifest, conditioning.positive[context].shape[1])
    return conditioning


def _encode_picture(stage: Stage, log: Log) -> Array | None:
    """The picture's moments (1,2C,h,w): the same for every image made from it."""
    pixels = stage.job.pixels
    if pixels is None:
        return None
    with stage.engines.components.use(layout.VAE_ENCODER, log.watch) as session:
        return latents.moments(session.run(as_feed(session, {"sample": pixels})))


def _noise(stage: Stage, moments: Array | None) -> tuple[Array, list[Noise]]:
    """The latents that the loop starts from, the picture with noise in it or noise alone; and each
    image's generator, which goes on from there."""
    job, manifest = stage.job, stage.engines.bundle.manifest
    noises = [generator(job.resolved.rng, seed) for seed in job.resolved.seeds]
    shape, schedule = job.latent_shape(manifest), job.schedule
    if moments is None:
        return _draw(noises, shape) * np.float32(schedule.initial), noises
    # Image by image posterior first, then noise: a generator's order in diffusers.
    z = latents.encode(moments, _draw(noises, shape), manifest.latents)
    if not schedule.noise:  # nothing to run, or a picture that counts as noisy: none is drawn
        return z, noises
    noise = _draw(noises, shape)
    return z * np.float32(schedule.signal) + noise * np.float32(schedule.noise), noises


def _denoise(
    stage: Stage, x: Array, noises: list[Noise], total: int, log: Log, cancel: Cancel | None
) -> Generator[Step, None, None]:
    """Take the latents x (n,C,h,w) of all images, in place, through the rows of `stage`, as many
    images at a time as its denoiser takes; yield the steps, which are `total` in the whole run."""
    job, manifest = stage.job, stage.engines.bundle.manifest
    if not job.schedule.rows:
        return
    with stage.engines.components.use(manifest.denoiser, log.watch) as session:
        for first in range(0, len(noises), job.batch):
            some = slice(first, first + job.batch)
            calls = EngineCalls(
                session,
                FAMILIES[manifest.family].denoiser,
                _constants(stage, len(noises[some])),
                job.schedule,
                x[some].shape,
                branches=2 if job.guided else 1,
            )
            rows = denoise(
                _denoiser(calls, job),
                x[some],
                job.schedule,
                draw=functools.partial(_fill, noises[some]),
                cancel=cancel,
            )
            before = 0.0
            for row in rows:
                engine, before = calls.seconds - before, calls.seconds
                log.steps.append(StepTime(engine=engine, host=row.seconds - engine))
                x[some] = row.state.x
                with log.watch.away():
                    yield Step(
                        index=len(log.steps),
                        total=total,
                        prediction=row.prediction(),
                        factors=manifest.preview,
                    )


def _denoiser(calls: EngineCalls, job: Job) -> Denoiser:
    """What the loop calls: the engine, and around it what was asked for."""
    if not job.guided:
        return unguided(calls)
    settings = job.resolved.settings
    return guided(calls, job.resolved.guidance_scale, rescaled=settings.guidance_rescale)


def _constants(stage: Stage, n: int) -> dict[str, npt.NDArray[Any]]:
    """The denoiser's inputs that stay the same through the loop, for n images."""
    constants = stage.conditioning.batch(n)
    width = stage.engines.bundle.manifest.guidance_embedding_width
    if width is not None:
        embedding = guidance_embedding(stage.job.resolved.guidance_scale, width)
        constants["timestep_cond"] = np.repeat(embedding, n, axis=0)
    return constants


def _draw(noises: list[Noise], shape: tuple[int, ...]) -> Array:
    """Noise (B,C,h,w) for latents of `shape` (C,h,w)."""
    out = np.empty((len(noises), *shape), np.float32)
    _fill(noises, out)
    return out


def _fill(noises: list[Noise], out: Array) -> None:
    """Each image's noise from its own generator, so that no image depends on its batch."""
    for noise, one in zip(noises, out, strict=True):
        noise.fill(one)


def _decode(engines: Engines, x: Array, log: Log) -> list[Image.Image]:
    """One image at a time: the decoder is where memory peaks, and batches do not speed it up."""
    images: list[Image.Image] = []
    with engines.components.use(layout.VAE_DECODER, log.watch) as session:
        for z in x:
            sample = latents.decode(z[None], engines.bundle.manifest.latents)
            pixels = session.run(as_feed(session, {VAE_LATENTS: sample}))["sample"]
            images += from_pixels(pixels)
    return images
