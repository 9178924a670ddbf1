"""The parts of a run that its stages share: one denoiser's share of it, and the log."""

from __future__ import annotations

from dataclasses import dataclass, field

from .engines import Engines
from .prepare import Job
from .result import StepTime
from .stopwatch import Stopwatch
from .text import Conditioning


@dataclass(frozen=True, slots=True)
class Stage:
    """One denoiser's share of a run: the whole of it, or a base's or a refiner's."""

    engines: Engines
    job: Job
    conditioning: Conditioning

    @property
    def calls(self) -> int:
        """How often the denoiser is called: each row once for every batch of images."""
        return len(self.job.schedule.rows) * -(-len(self.job.resolved.seeds) // self.job.batch)


@dataclass(frozen=True, slots=True)
class Log:
    """What is noted while a run is under way."""

    watch: Stopwatch = field(default_factory=Stopwatch)
    steps: list[StepTime] = field(default_factory=list)
