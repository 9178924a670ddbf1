"""What the loop calls: the engine, and around it the parts that were asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from overpaint.bundle.format.manifest import GUIDANCE
from overpaint.bundle.lora.branches import SCALE
from overpaint.engines.session.session import Session

from .binding import Binding
from .cancel import Cancel
from .control.steering import Network
from .denoiser import Branches, Denoiser
from .denoiser.adaptive import adaptive
from .denoiser.apart import apart
from .denoiser.engine import Tally
from .denoiser.forecast import forecast, foretold_rows
from .denoiser.guidance import guided, unguided
from .denoiser.guidance_embedding import guidance_embedding
from .denoiser.interval import interval
from .denoiser.zero_star import optimised, still_at_first
from .engines import turned_by
from .ip_adapter.tokens import reference_inputs
from .prepare import negative_scale
from .shown import Shown
from .stage import Stage
from .text.conditioning import Conditioning

Array: TypeAlias = npt.NDArray[Any]


def denoiser_of(
    stage: Stage,
    session: Session,
    shape: tuple[int, ...],
    tally: Tally,
    *,
    seen: Array | None = None,
    channels: Array | None = None,
    pictures: Shown | None = None,
    networks: Sequence[Network] = (),
    cancel: Cancel | None = None,
) -> Denoiser:
    """The denoiser of `stage` for latents of `shape` (B,C,h,w), everything bound that stays.

    tally: counts what is computed. seen: tokens of reference pictures. channels: what an inpainting
    denoiser sees behind the latents. pictures: what it looks at. networks: the control networks
    of the run.
    """

    @functools.cache
    def calls(branches: int) -> Branches:
        whole = stage.conditioning if branches == 2 else stage.conditioning.alone
        references = None if seen is None else seen[-branches:]
        each = [
            Binding(
                stage=stage,
                session=session,
                shape=shape,
                branches=branches // len(whole.calls),
                constants=_constants(stage, one, shape[0], shown),
                networks=networks,
                channels=channels,
                pictures=pictures,
                tally=tally,
            ).predict(cancel)
            for one, shown in zip(whole.calls, _parts(references, len(whole.calls)), strict=True)
        ]
        return each[0] if len(each) == 1 else apart(*each)

    return _composed(calls, stage)


def _composed(calls: Callable[[int], Branches], stage: Stage) -> Denoiser:
    """`calls` gives the engine with two branches of guidance bound, or with the positive one."""
    job, resolved, schedule = stage.job, stage.job.resolved, stage.job.schedule
    predict = calls(2 if job.guided else 1)
    start, end = resolved.guidance_start, resolved.guidance_end
    if job.guided and (start > 0 or end < 1):
        predict = interval(predict, calls(1), schedule.rows, start, end)
    if job.guided and resolved.adaptive_guidance is not None:
        predict = adaptive(predict, calls(1), schedule.rows[0], resolved.adaptive_guidance)
    denoiser = _guided(predict, stage) if job.guided else unguided(predict)
    if foretold := foretold_rows(schedule, resolved.forecast):
        denoiser = forecast(denoiser, foretold)
    return denoiser


def _guided(predict: Branches, stage: Stage) -> Denoiser:
    """Guidance by both branches of `predict`."""
    settings, first = stage.job.resolved.settings, stage.job.schedule.rows[0]
    if settings.cfg_zero_star:
        predict = optimised(predict)
    scale = negative_scale(stage.engines.bundle.manifest, stage.job.resolved)
    denoiser = guided(predict, scale, rescaled=settings.guidance_rescale)
    flows = stage.engines.bundle.manifest.prediction == "flow"
    if settings.cfg_zero_star and flows and not first.alpha:  # pure noise
        denoiser = still_at_first(denoiser, first)
    return denoiser


def _parts(seen: Array | None, count: int) -> Sequence[Array | None]:
    """Tokens of reference pictures for each of `count` calls."""
    return [None] * count if seen is None else np.array_split(seen, count)


def _constants(
    stage: Stage, conditioning: Conditioning, n: int, seen: Array | None
) -> dict[str, Array]:
    """The denoiser's inputs that stay the same through the loop, for n images of each branch that
    `conditioning` has."""
    constants, engines = conditioning.batch(n), stage.engines
    branches = 1 if conditioning.negative is None else 2
    manifest = engines.bundle.manifest
    width = manifest.guidance_embedding_width
    guidance, rows = stage.job.resolved.guidance_scale, n * branches
    if width is not None:
        constants["timestep_cond"] = np.repeat(guidance_embedding(guidance, width), rows, axis=0)
    elif manifest.takes_guidance:
        constants[GUIDANCE] = np.full(rows, guidance, np.float32)
    scale = engines.lora_scale(stage.job.lora)
    if scale is not None and manifest.denoiser in turned_by(engines.bundle):
        constants[SCALE] = scale
    if seen is not None and stage.job.references is not None:
        constants |= reference_inputs(seen, stage.job.references, n)
    return constants
