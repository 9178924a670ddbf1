"""What the server has that a provider may be made of, beside its URL."""

from __future__ import annotations

from dataclasses import dataclass

from overpaint.serve.jobs.engines.models import Served
from overpaint.serve.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """For engines of this process: the bundles `served`, the bytes that those may take together
    (None: no limit), how many jobs may wait, the seconds that one may run, the most steps and
    images of one. For servers elsewhere: the `token` to present there.
    """

    served: tuple[Served, ...]
    memory_budget: int | None
    queue: int
    job_seconds: float
    max_steps: int
    max_images: int
    token: str | None
    metrics: Metrics
