"""What control networks add to a run: their hints before it, their sessions while it lasts."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from overpaint.bundle import layout
from overpaint.bundle.control.extend import networks_of
from overpaint.bundle.errors import UsageError
from overpaint.bundle.families import FAMILIES
from overpaint.bundle.format.controlnet import ControlNet
from overpaint.engines.session.session import Session

from . import latents
from .control.picture import Controlling
from .control.steering import Network, Steering
from .feed import as_feed
from .noise import Generator, generator
from .stage import Stage
from .start import draw
from .stopwatch import Stopwatch

Array = npt.NDArray[Any]


def encode_hints(stage: Stage, watch: Stopwatch) -> dict[str, Array]:
    """What each network is given of its picture, by its name: (1,C,h,w), or with a row for each
    branch of guidance. It is the same for all steps and images."""
    known = networks_of(stage.engines.bundle) if stage.job.controlling else {}
    # As diffusers' posteriors of control pictures, from a generator beside that of the run.
    resolved = stage.job.resolved
    beside = generator(resolved.rng, resolved.seed)
    return {
        one.name: _hint(stage, one, known[one.name], beside, watch) for one in stage.job.controlling
    }


def open_networks(
    stage: Stage, hints: Mapping[str, Array], used: contextlib.ExitStack, watch: Stopwatch
) -> list[Network]:
    """The networks of a run with their sessions, which stay open as long as `used`."""
    if not stage.job.controlling:
        return []
    known, components = networks_of(stage.engines.bundle), stage.engines.components
    return [
        Network(
            manifest=known[one.name],
            control=one.control,
            session=used.enter_context(components.use(f"{layout.CONTROLNET}-{one.name}", watch)),
            hint=hints[one.name],
        )
        for one in stage.job.controlling
    ]


def steering(
    stage: Stage,
    denoiser: Session,
    networks: Sequence[Network],
    constants: Mapping[str, Array],
    shape: tuple[int, ...],
) -> Steering | None:
    """What the denoiser is fed besides, for latents of `shape` (branches,B,C,h,w): nothing but
    zeros without networks; None where it takes none of it."""
    if not any(name.startswith(layout.RESIDUAL) for name in denoiser.inputs):
        return None
    manifest = stage.engines.bundle.manifest
    return Steering(
        networks,
        denoiser,
        FAMILIES[manifest.family].denoiser,
        constants,
        stage.job.schedule,
        shape,
        patch=manifest.latents.multiple // manifest.latents.downscale,
        guess=stage.job.resolved.settings.guess_mode,
    )


def _hint(
    stage: Stage, one: Controlling, network: ControlNet, beside: Generator, watch: Stopwatch
) -> Array:
    components = stage.engines.components
    if layout.HINT in network.components:
        with components.use(f"{layout.HINT}-{one.name}", watch) as session:
            return np.array(session.run(as_feed(session, {"picture": one.map}))["hint"])
    if stage.job.tile is not None:
        raise UsageError(f"control {one.name}: it sees its picture at once; leave tile out")
    scale = stage.engines.bundle.manifest.latents
    if network.zero_pooled and one.kept is None:
        scale = msgspec.structs.replace(scale, shift=0.0)
    with components.use(layout.VAE_ENCODER, watch) as session:
        found = latents.moments(session.run(as_feed(session, {"sample": one.pixels})))
    rows = 2 if stage.job.guided and one.kept is None else 1  # as diffusers draws
    shape = (rows * scale.channels, *found.shape[2:])
    noise = draw([beside], shape).reshape(rows, scale.channels, *found.shape[2:])
    seen = latents.encode(np.repeat(found, rows, axis=0), noise, scale)
    return seen if one.kept is None else np.concatenate([seen, one.kept], axis=1)
