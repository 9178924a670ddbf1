"""How long jobs take here, measured: a running mean, recent ones counting more."""

from __future__ import annotations

from dataclasses import dataclass

from overpaint.runtime.result import Timings
from overpaint.serve.jobs.capabilities import Pace

GUESS = 5.0
RECENT = 0.2


@dataclass(frozen=True, slots=True)
class JobTimes:
    """Seconds of a job, of one denoising step, and of everything else in a job."""

    job: float
    step: float
    other: float

    @classmethod
    def of(cls, timings: Timings) -> JobTimes:
        steps = max(1, len(timings.steps))
        return cls(timings.total, timings.denoise / steps, timings.total - timings.denoise)

    def then(self, newer: JobTimes) -> JobTimes:
        """The mean after one more job."""
        old, new = 1 - RECENT, RECENT
        return JobTimes(
            old * self.job + new * newer.job,
            old * self.step + new * newer.step,
            old * self.other + new * newer.other,
        )

    @property
    def pace(self) -> Pace:
        """What clients are told of them."""
        return Pace(step_s=self.step, other_s=self.other)


def expected_seconds(times: JobTimes | None, jobs: int) -> float:
    """How long `jobs` of them take, one after the other; before the first, a guess."""
    return (times.job if times else GUESS) * jobs
