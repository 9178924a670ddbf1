"""How long jobs take here, measured: a running mean, recent ones counting more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from overpaint.runtime.result import Timings
from overpaint.serve.jobs.capabilities import Pace

GUESS = 5.0
RECENT = 0.2


@dataclass(frozen=True, slots=True)
class JobTimes:
    """Seconds of a job, of one denoising step, and of everything else in a job; and the pixels of
    all its pictures."""

    job: float
    step: float
    other: float
    pixels: float

    @classmethod
    def of(cls, timings: Timings, pixels: int) -> JobTimes:
        steps, other = max(1, len(timings.steps)), timings.total - timings.denoise
        return cls(timings.total, timings.denoise / steps, other, pixels)

    def then(self, newer: JobTimes) -> JobTimes:
        """The mean after one more job."""
        old, new = 1 - RECENT, RECENT
        return JobTimes(
            old * self.job + new * newer.job,
            old * self.step + new * newer.step,
            old * self.other + new * newer.other,
            old * self.pixels + new * newer.pixels,
        )

    @property
    def pace(self) -> Pace:
        """What clients are told of them."""
        return Pace(step_s=self.step, other_s=self.other, pixels=self.pixels)


def expected_seconds(times: JobTimes | None, jobs: Sequence[int]) -> float:
    """How long jobs of so many pixels take, one after the other; before the first, a guess."""
    return times.job * sum(jobs) / times.pixels if times else GUESS * len(jobs)
