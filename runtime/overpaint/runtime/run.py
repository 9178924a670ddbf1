"""One request, from picture and prompt to finished images: the stages, in the order they run."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from overpaint.bundle.errors import UsageError
from overpaint.bundle.facts import TextEncoder
from overpaint.bundle.families import FAMILIES

from .autoencoder import decoder, encoder, looking
from .cancel import Cancel, check
from .controlled import encode_hints, open_networks
from .engines import SEEING, Engines
from .image import from_pixels
from .image.match import matched
from .ip_adapter.tokens import encode_references
from .loop import denoise
from .masks.keeping import Keeping
from .memory import check_memory
from .predicting import denoiser_of
from .prepare import Job, check_context, prepare
from .refine import base_request, refiner_job
from .report import result
from .request import Request
from .result import Complete, Step, StepTime
from .stage import Log, Stage
from .start import Moments, Start, fill, start, starts_from_noise
from .text import CONDITION, Conditioning, Prompting, Prompts
from .text.conditioning import Embedding
from .text.embeddings import expanded
from .text.length import with_length

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
            jobs = _read(engines, request, cancel)
        check_memory(jobs)
        check(cancel)
        with log.watch.stage("text"):
            stages = [Stage(*pair, encode_text(*pair, log)) for pair in jobs]
        check(cancel)
        with log.watch.stage("encode"):
            moments = _encode_picture(stages, log, cancel)
        with log.watch.stage("encode"):
            tokens = _encode_references(stages[0], log)
            hints = encode_hints(stages[0], log.watch)
        manifest = engines.bundle.manifest
        looks = manifest.looks_at_pictures
        begun = start(stages[0].job, moments, manifest.latents, looks=looks)
        total = sum(stage.calls for stage in stages)
        for stage in stages:
            first = stages[0].job.schedule.skipped
            seen = tokens if stage.job.references else None
            yield from _denoise(stage, begun, seen, hints, first, total, log, cancel)
        check(cancel)
        with log.watch.stage("decode"):
            images = _decode(stages[-1], begun.x, stages[0].job.pixels, log, cancel)
        yield Complete(result(stages, images, log))


def _read(engines: Engines, request: Request, cancel: Cancel | None) -> list[tuple[Engines, Job]]:
    """Who does what: one job, or the base's and the refiner's."""
    refiner = request.refiner
    for one in (engines, *([] if refiner is None else [refiner.engines])):
        one.vae(request.settings.vae)  # refused before anything is computed
    if request.ip_adapter_image and engines.adapters is not None:
        raise UsageError(
            "ip_adapter_image: LoRAs that turn and reference pictures do not go together; open the "
            "pipeline with the LoRA fused, or leave one of them out"
        )
    upscaler = engines.enlarging(request.settings)
    enlarge = functools.partial(upscaler.enlarge, cancel=cancel) if upscaler else None
    if refiner is None:
        return [(engines, prepare(engines.bundle, request, engines.seeing, enlarge))]
    job = prepare(engines.bundle, base_request(request, refiner), engines.seeing, enlarge)
    return [(engines, job), (refiner.engines, refiner_job(engines.bundle, job, refiner))]


def encode_text(engines: Engines, job: Job, log: Log) -> Conditioning:
    """What the denoiser is told by the prompts."""
    manifest, settings, text = engines.bundle.manifest, job.resolved.settings, engines.text
    negative = settings.negative_prompt
    prompts = Prompts(
        prompt=expanded(job.prompt, manifest.embeddings),
        negative_prompt=None if negative is None else expanded(negative, manifest.embeddings),
        guided=job.guided,
        size=job.size,
    )
    prompting = Prompting(
        chunks=settings.prompt_chunks,
        weights=settings.prompt_weights,
        clip_skip=settings.clip_skip,
    )
    both = [prompts.prompt, *([prompts.negative_prompt or ""] if prompts.guided else [])]
    wanted = with_length(manifest.text, settings.max_sequence_length)
    chunks = text.chunks(wanted, both, prompting)
    unskipped = prompting if settings.clip_skip_negative else replace(prompting, clip_skip=0)

    def encode(encoder: TextEncoder, prompt: str, /, *, negative: bool = False) -> Embedding:
        return text.encode(
            encoder,
            prompt,
            watch=log.watch,
            prompting=unskipped if negative else prompting,
            chunks=chunks,
            lora_scale=engines.lora_scale(job.lora),
        )

    conditioning = CONDITION[manifest.family](wanted, prompts, encode)
    context = FAMILIES[manifest.family].denoiser.context
    check_context(manifest, conditioning.positive[context].shape[1])
    return conditioning


def _encode_picture(stages: list[Stage], log: Log, cancel: Cancel | None) -> Moments:
    """What the VAE makes of the picture: the same for every image made from it."""
    stage = stages[0]
    job, inpaints = stage.job, any(one.engines.bundle.manifest.inpaints for one in stages)
    # Where all starts from noise, only a denoiser that needs its surroundings put back wants them.
    held = [job.masking and not one.job.sees_mask(one.engines.bundle.manifest) for one in stages]
    looks = stage.engines.bundle.manifest.looks_at_pictures
    pixels = job.pixels if any(held) or looks or not starts_from_noise(job) else None
    if pixels is None and not inpaints and not job.beside.pixels:
        return Moments(picture=None, masked=None)
    with encoder(stage, log, cancel) as moments:
        return Moments(
            picture=None if pixels is None else moments(pixels),
            masked=moments(job.unmasked_pixels()) if inpaints else None,
            others=tuple(moments(one) for one in job.beside.pixels),
        )


def _encode_references(stage: Stage, log: Log) -> npt.NDArray[Any] | None:
    """What the denoiser sees of reference pictures: the same for every image."""
    references, seeing = stage.job.references, stage.engines.seeing
    if references is None:
        return None
    assert seeing is not None
    assert seeing.manifest.ip_adapter is not None
    return encode_references(
        stage.engines.components,
        seeing.manifest.ip_adapter,
        references,
        log.watch,
        guided=stage.job.guided,
    )


def _denoise(
    stage: Stage,
    begun: Start,
    seen: npt.NDArray[Any] | None,
    hints: Mapping[str, Array],
    first: int,
    total: int,
    log: Log,
    cancel: Cancel | None,
) -> Generator[Step, None, None]:
    """Take the latents of all images, in place, through the rows of `stage`, as many images at a
    time as its denoiser takes; yield the steps, which are `total` in the whole run. `seen`: tokens
    of reference pictures. `first`: how many steps strength left out before it."""
    job, manifest = stage.job, stage.engines.bundle.manifest
    if not job.schedule.rows:
        return
    x, channels = begun.x, begun.channels if manifest.inpaints else None
    controlled = bool(job.controlling)
    name = stage.engines.denoiser(controlled=controlled) if seen is None else SEEING
    with contextlib.ExitStack() as used:
        session = used.enter_context(stage.engines.components.use(name, log.watch))
        networks = open_networks(stage, hints, used, log.watch)
        look = looking(stage, log, used)
        for start_of in range(0, len(x), job.batch):
            some = slice(start_of, start_of + job.batch)
            denoiser = denoiser_of(
                stage,
                session,
                x[some].shape,
                log.tally,
                seen=seen,
                channels=None if channels is None else channels[some],
                pictures=begun.pictures,
                networks=networks,
                cancel=cancel,
            )
            keeping = _keeping(stage, begun, some, first)
            rows = denoise(
                denoiser,
                x[some],
                job.schedule,
                draw=functools.partial(fill, begun.generators[some]),
                hold=keeping.hold if keeping else None,
                cancel=cancel,
            )
            before = log.tally.seconds
            for done, row in enumerate(rows, 1):
                engine, before = log.tally.seconds - before, log.tally.seconds
                log.steps.append(StepTime(engine=engine, host=row.seconds - engine))
                x[some] = row.state.x
                with log.watch.away():
                    prediction = row.prediction()
                    yield Step(
                        index=len(log.steps),
                        total=total,
                        prediction=keeping.shown(prediction, done) if keeping else prediction,
                        factors=manifest.preview,
                        look=look,
                    )


def _keeping(stage: Stage, begun: Start, some: slice, first: int) -> Keeping | None:
    """What puts back, after each row, what a mask keeps. An inpainting denoiser does so itself,
    but for soft masks."""
    masking = stage.job.masking
    sees_mask = stage.job.sees_mask(stage.engines.bundle.manifest)
    if masking is None or (sees_mask and not masking.soft):
        return None
    assert begun.z is not None
    assert begun.noise is not None
    return Keeping(
        z=begun.z[some],
        noise=begun.noise[some],
        cells=masking.cells,
        schedule=stage.job.schedule,
        soft=masking.soft,
        first=first,
    )


def _decode(
    stage: Stage, x: Array, pixels: Array | None, log: Log, cancel: Cancel | None
) -> list[Image.Image]:
    """One image at a time: the decoder is where memory peaks, and batches do not speed it up.
    `pixels`: the input's."""
    images: list[Image.Image] = []
    masking, how = stage.job.masking, stage.job.resolved.settings.match_colour
    like = from_pixels(pixels)[0] if how is not None and pixels is not None else None
    with decoder(stage, log, cancel) as decode:
        for z in x:
            image = decode(z)
            if how is not None and like is not None:
                image = matched(image, like, how)
            images.append(masking.paste(image) if masking and masking.paste else image)
    return images
