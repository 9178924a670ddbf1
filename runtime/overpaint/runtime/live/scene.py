"""What all frames of a live run share: made when a prompt or a strength is set, not per frame."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from overpaint.bundle.errors import UsageError
from overpaint.bundle.facts import Latents
from overpaint.engines.session.session import Session
from overpaint.runtime.denoiser import Denoiser
from overpaint.runtime.engines import Engines
from overpaint.runtime.predicting import denoiser_of
from overpaint.runtime.prepare import Job, prepare
from overpaint.runtime.request import Request
from overpaint.runtime.run import encode_text
from overpaint.runtime.stage import Log, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A request with nothing open but the picture.

    `denoiser` has text, timesteps and buffers bound, and is called from one thread at a time. The
    noise is the seed's, the same for every frame, so that what stands still does not flicker.
    """

    job: Job
    scale: Latents
    encoder: Session
    denoiser: Denoiser
    decoder: Session
    prediction: str
    residual_guidance: float


def scene(engines: Engines, request: Request, residual_guidance: float) -> Scene:
    """Decide and bind everything for frames like the request's picture.

    Raises UsageError for what a live run cannot do.
    """
    if engines.components.low_memory:
        raise UsageError("live: engines have to stay open; open the bundle without low_memory")
    log, manifest = Log(), engines.bundle.manifest
    if manifest.inpaints:
        raise UsageError(f"live: {manifest.name} wants a mask with each picture; name another")
    if manifest.looks_at_pictures:
        raise UsageError(
            f"live: {manifest.name} looks at each picture in every step, and what frames share is "
            "bound before; name another"
        )
    job = prepare(engines.bundle, request)
    stage = Stage(engines, job, encode_text(engines, job, log))
    plain = engines.denoiser(controlled=False)
    eyes, brush = engines.vae(request.settings.vae)
    with contextlib.ExitStack() as used:
        encoder, session, decoder = (
            used.enter_context(engines.components.use(name, log.watch))
            for name in (eyes, plain, brush)
        )
    shape = 1, *job.latent_shape(manifest.latents)
    return Scene(
        job=job,
        scale=manifest.latents,
        encoder=encoder,
        denoiser=denoiser_of(stage, session, shape, log.tally),
        decoder=decoder,
        prediction=manifest.prediction,
        residual_guidance=residual_guidance,
    )
