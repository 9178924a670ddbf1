"""What a run gives back, and what it says on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from overpaint.bundle import layout
from overpaint.engines.choose import Decision

from .engines import SEEING
from .latents import preview
from .metadata import Painting, Parameters

Look: TypeAlias = Callable[[npt.NDArray[np.float32]], Image.Image]
"""Latents (C,h,w) -> the picture that they stand for."""


@dataclass(frozen=True, slots=True)
class StepTime:
    """Seconds of one denoising step: inside the engine, and in our own code around it."""

    engine: float
    host: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Seconds by stage. `load`: waiting for engines. `read`: opening and fitting the picture.

    `steps` holds one entry for each row of the schedule, be it computed or foretold; `denoise` is
    their sum. `total` is the
    whole run but the time that the caller of a stream took between two events.
    """

    total: float
    load: float
    read: float
    text: float
    encode: float
    decode: float
    steps: tuple[StepTime, ...]

    @property
    def denoise(self) -> float:
        return sum(step.engine + step.host for step in self.steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Finished images, and everything needed to make them again.

    Saving one of `images` as PNG, JPEG or WEBP writes its parameters into the file. `steps_run`
    counts denoising steps executed, which strength makes fewer than those requested. `evaluations`
    counts the denoiser's, one for each branch of guidance of each image in each call;
    `exact_evaluations` are those of the same run at fidelity "exact"; `fidelity_db` is how far a
    picture of this bundle at the level is from its exact one, PSNR in dB, None at "exact".
    `devices` says what ran each component, `decision` why, and why not something better.
    """

    images: tuple[Painting, ...]
    seeds: tuple[int, ...]
    steps_run: int
    evaluations: int
    exact_evaluations: int
    timings: Timings
    devices: dict[str, str]
    decision: Decision | None
    warnings: tuple[str, ...]
    parameters: Parameters
    fidelity_db: float | None = None

    @property
    def device(self) -> str:
        """What ran the denoiser."""
        return next(
            (self.devices[name] for name in (*layout.DENOISERS, SEEING) if name in self.devices), ""
        )

    @property
    def passed_over(self) -> dict[str, str]:
        """Better devices than the one that was taken, and why each could not be."""
        better = self.decision.passed_over if self.decision else ()
        return {candidate.device: candidate.why for candidate in better}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """`index` of `total` denoising steps are done."""

    index: int
    total: int
    prediction: npt.NDArray[np.float32] = field(repr=False)
    factors: tuple[tuple[float, ...], ...] | None = field(default=None, repr=False)
    look: Look | None = field(default=None, repr=False)

    def preview(self, image: int = 0) -> Image.Image:
        """The picture as it is foreseen now, one pixel a latent cell, and no decoder is run; with a
        tiny autoencoder open, at its full size."""
        if self.look is not None:
            return self.look(self.prediction[image])
        return preview(self.prediction[image], self.factors)


@dataclass(frozen=True, slots=True)
class Complete:
    """The last event of a stream."""

    result: Result
