"""The parts of a run that its stages share: one denoiser's share of it, and the log."""

from __future__ import annotations

from dataclasses import dataclass, field

from .denoiser.engine import Tally
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
        """How often the loop asks the denoiser: each row once for every batch of images."""
        return len(self.job.schedule.rows) * -(-len(self.job.resolved.seeds) // self.job.batch)

    @property
    def evaluations(self) -> int:
        """What an exact run computes: each branch of guidance of each image in each row, in each of
        its tiles."""
        branches = 2 if self.job.guided else 1
        windows = len(self.job.windows(self.engines.bundle.manifest.latents) or (None,))
        return len(self.job.schedule.rows) * branches * len(self.job.resolved.seeds) * windows


@dataclass(frozen=True, slots=True)
class Log:
    """What is noted while a run is under way."""

    watch: Stopwatch = field(default_factory=Stopwatch)
    steps: list[StepTime] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
