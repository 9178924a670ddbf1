"""The parts of a run that its stages share: the engines, one denoiser's share of it, the log."""

from __future__ import annotations

from dataclasses import dataclass, field

from overpaint.bundle.format.bundle import Bundle
from overpaint.engines.choose import Decision

from .components import Components
from .prepare import Job
from .result import StepTime
from .stopwatch import Stopwatch
from .text import Conditioning, TextEncoders


@dataclass(frozen=True, slots=True)
class Engines:
    """What a run works with: a bundle, its sessions, its text encoders and what they remember."""

    bundle: Bundle
    components: Components
    text: TextEncoders
    decision: Decision | None


@dataclass(frozen=True, slots=True)
class Stage:
    """One denoiser's share of a run: the whole of it, or a base's or a refiner's."""

    engines: Engines
    job: Job
    conditioning: Conditioning

    @property
    def calls(self) -> int:
        """How often the denoiser is called: each row once for every batch of images."""
        return len(self.job.schedule.rows) * -(-self.job.resolved.n // self.job.batch)


@dataclass(frozen=True, slots=True)
class Log:
    """What is noted while a run is under way."""

    watch: Stopwatch = field(default_factory=Stopwatch)
    steps: list[StepTime] = field(default_factory=list)
