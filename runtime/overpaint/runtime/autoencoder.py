"""The VAE in a run: its own or a tiny one, at once, or for a picture in tiles part by part."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from overpaint.bundle import layout
from overpaint.bundle.errors import UsageError
from overpaint.bundle.facts import Latents
from overpaint.bundle.tiny_vae.attach import has_tiny_vae
from overpaint.engines.session.session import Session

from . import latents
from .cancel import Cancel
from .feed import as_feed
from .image import from_pixels
from .prepare import VAE_LATENTS
from .result import Look
from .stage import Log, Stage
from .tiles.vae import run_parts

Array: TypeAlias = npt.NDArray[np.float32]
Run: TypeAlias = Callable[[Array], Mapping[str, npt.NDArray[Any]]]


@contextlib.contextmanager
def encoder(stage: Stage, log: Log, cancel: Cancel | None) -> Iterator[Callable[[Array], Array]]:
    """Pixels (1,3,H,W) in [-1,1] -> the posterior's moments (1,2C,h,w)."""
    name, _ = stage.engines.vae(stage.job.resolved.settings.vae)
    with _half(stage, name, "sample", log, cancel) as run:
        yield lambda pixels: latents.moments(run(pixels))


@contextlib.contextmanager
def decoder(
    stage: Stage, log: Log, cancel: Cancel | None
) -> Iterator[Callable[[Array], Image.Image]]:
    """Latents (C,h,w) of one image -> the picture."""
    _, name = stage.engines.vae(stage.job.resolved.settings.vae)
    with _half(stage, name, VAE_LATENTS, log, cancel) as run:
        yield lambda z: _picture(run, z, stage.engines.bundle.manifest.latents)


def looking(stage: Stage, log: Log, used: contextlib.ExitStack) -> Look | None:
    """What previews are decoded by, while `used` is open: a tiny decoder, where there is one and
    engines stay open."""
    components, manifest = stage.engines.components, stage.engines.bundle.manifest
    if components.low_memory or not has_tiny_vae(manifest) or stage.job.tile is not None:
        return None
    session = used.enter_context(components.use(layout.TINY_VAE_DECODER, log.watch))
    return lambda z: _picture(_running(session, VAE_LATENTS), z, manifest.latents)


@contextlib.contextmanager
def _half(stage: Stage, half: str, name: str, log: Log, cancel: Cancel | None) -> Iterator[Run]:
    """Half of the VAE as a function of its input `name`."""
    if stage.job.tile is None:
        with stage.engines.components.use(half, log.watch) as session:
            yield _running(session, name)
        return
    parts = stage.engines.parts
    if parts is None:
        raise UsageError("tile: sessions that were opened elsewhere have no parts of a VAE")
    stage.engines.components.devices[half] = parts.device
    cell = 1 if name == VAE_LATENTS else stage.engines.bundle.manifest.latents.downscale
    yield lambda given: run_parts(parts.of(half), parts.open, given, _cells(given, cell), cancel)


def _cells(given: Array, cell: int) -> tuple[int, int]:
    """(h,w) of latents; `given` has `cell` times as many of each."""
    return given.shape[2] // cell, given.shape[3] // cell


def _running(session: Session, name: str) -> Run:
    return lambda given: session.run(as_feed(session, {name: given}))


def _picture(run: Run, z: Array, scale: Latents) -> Image.Image:
    [image] = from_pixels(run(latents.decode(z[None], scale))["sample"])
    return image
