"""How long jobs take here, measured: a running mean, recent ones counting more."""

from __future__ import annotations

from dataclasses import dataclass

from overpaint.runtime.result import Timings

GUESS = 5.0
RECENT = 0.2


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds of a job, of one denoising step, and of everything else in a job."""

    job: float
    step: float
    other: float

    @classmethod
    def of(cls, timings: Timings) -> Pace:
        steps = max(1, len(timings.steps))
        return cls(timings.total, timings.denoise / steps, timings.total - timings.denoise)

    def then(self, newer: Pace) -> Pace:
        """The mean after one more job."""
        old, new = 1 - RECENT, RECENT
        return Pace(
            old * self.job + new * newer.job,
            old * self.step + new * newer.step,
            old * self.other + new * newer.other,
        )


def seconds(pace: Pace | None, jobs: int) -> float:
    """How long `jobs` of them take, one after the other; before the first, a guess."""
    return (pace.job if pace else GUESS) * jobs
