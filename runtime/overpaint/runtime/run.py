"""One request, from picture and prompt to finished images: the stages, in the order they run."""

from __future__ import annotations

import functools
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from overpaint.bundle import layout
from overpaint.runtime.text.sd3 import with_t5_length

from . import latents
from .cancel import Cancel, check
from .feed import as_feed
from .guidance_embedding import guidance_embedding
from .image import ImageLike, from_pixels
from .loop import denoise
from .noise import Generator as Noise
from .noise import generator
from .prepare import Job, check_context, prepare
from .refine import Refiner, base_settings, refiner_job
from .report import result
from .result import Complete, Step
from .settings import Settings
from .stage import Engines, Log, Stage
from .text import CONDITION, Conditioning, Prompting, Request

__all__ = ["Engines", "run"]

Array = npt.NDArray[np.float32]


def run(
    engines: Engines,
    image: ImageLike | None,
    prompt: str,
    settings: Settings,
    cancel: Cancel | None,
    refiner: Refiner | None = None,
) -> Iterator[Step | Complete]:
    """Yield a Step for each call of a denoiser, then Complete. `image` None: text to image."""
    log = Log()
    with log.watch.stage("read"):
        jobs = _jobs(engines, image, prompt, settings, refiner)
    check(cancel)
    with log.watch.stage("text"):
        stages = [Stage(*pair, _condition(*pair, log)) for pair in jobs]
    check(cancel)
    [(_, job), *_] = jobs
    with log.watch.stage("encode"):
        moments = _encode(engines, job, log)
    noises = [generator(job.resolved.rng, seed) for seed in job.resolved.seeds]
    x = _start(engines, job, moments, noises)
    total = sum(stage.calls for stage in stages)
    for stage in stages:
        yield from _denoise(stage, x, noises, total, log, cancel)
    check(cancel)
    with log.watch.stage("decode"):
        images = _decode(stages[-1].engines, x, log)
    yield Complete(result(stages, images, log))


def _jobs(
    engines: Engines,
    image: ImageLike | None,
    prompt: str,
    settings: Settings,
    refiner: Refiner | None,
) -> list[tuple[Engines, Job]]:
    """Who does what: one job, or the base's and the refiner's."""
    if refiner is None:
        return [(engines, prepare(engines.bundle, image, prompt, settings))]
    job = prepare(engines.bundle, image, prompt, base_settings(settings, refiner))
    return [(engines, job), (refiner.engines, refiner_job(engines.bundle, job, refiner))]


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
    wanted = with_t5_length(manifest.text, resolved.max_sequence_length)
    chunks = text.chunks(wanted, prompts, prompting)
    encode = functools.partial(text.encode, watch=log.watch, prompting=prompting, chunks=chunks)
    conditioning = CONDITION[manifest.family](wanted, request, encode)
    check_context(manifest, conditioning.positive["encoder_hidden_states"].shape[1])
    return conditioning


def _encode(engines: Engines, job: Job, log: Log) -> Array | None:
    """The picture's moments (1,2C,h,w): the same for every image made from it."""
    if job.pixels is None:
        return None
    with engines.components.use(layout.VAE_ENCODER, log.watch) as session:
        return latents.moments(session.run(as_feed(session, {"sample": job.pixels})))


def _denoise(
    stage: Stage, x: Array, noises: list[Noise], total: int, log: Log, cancel: Cancel | None
) -> Generator[Step, None, None]:
    """Take the latents x (n,C,h,w) of all images, in place, through the rows of `stage`, as many
    images at a time as its denoiser takes; yield the steps, which are `total` in the whole run."""
    engines, job, conditioning = stage.engines, stage.job, stage.conditioning
    if not job.schedule.rows:
        return
    manifest = engines.bundle.manifest
    with engines.components.use(manifest.denoiser, log.watch) as session:
        for first in range(0, len(noises), job.batch):
            some = slice(first, first + job.batch)
            rows = denoise(
                session,
                x[some],
                job.schedule,
                _constants(engines, job, conditioning, len(noises[some])),
                guidance_scale=job.resolved.guidance_scale if job.guided else None,
                guidance_rescale=job.resolved.guidance_rescale,
                draw=functools.partial(_fill, noises[some]),
                cancel=cancel,
            )
            for row in rows:
                log.steps.append(row.time)
                x[some] = row.state.x
                with log.watch.away():
                    yield Step(
                        index=len(log.steps),
                        total=total,
                        prediction=row.prediction(),
                        factors=manifest.preview,
                    )


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
    if not schedule.noise:  # nothing to run, or a picture that counts as noisy: none is drawn
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


def _decode(engines: Engines, x: Array, log: Log) -> list[Image.Image]:
    """One image at a time: the decoder is where memory peaks, and batches do not speed it up."""
    images: list[Image.Image] = []
    with engines.components.use(layout.VAE_DECODER, log.watch) as session:
        for z in x:
            sample = latents.decode(z[None], engines.bundle.manifest.latents)
            pixels = session.run(as_feed(session, {"latent_sample": sample}))["sample"]
            images += from_pixels(pixels)
    return images
