"""What AUTOMATIC1111's web UI holds as global state: the chosen model, the job under way.

Its API knows one user: progress and interrupt speak of *the* job, which here is the oldest one of
this face that has not ended.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from overpaint.serve.http.problems import ApiError
from overpaint.serve.jobs.capabilities import ModelCapabilities
from overpaint.serve.jobs.protocol import Step
from overpaint.serve.jobs.record import Job
from overpaint.serve.jobs.service import UnknownModelError
from overpaint.serve.state import State


@dataclass(slots=True)
class WebUIState:
    """`checkpoint` None is the default model."""

    state: State
    checkpoint: str | None = None
    jobs: dict[str, tuple[Job, str]] = field(default_factory=dict)

    async def model(self, named: str | None) -> ModelCapabilities:
        """The model for a request that names `named`. Raises ApiError 404."""
        try:
            return await self.state.jobs.model(named or self.checkpoint)
        except UnknownModelError as error:
            message = f"Checkpoint not found; there is: {error.known}"
            raise ApiError(404, "model_not_found", message, field="sd_model_checkpoint") from None

    @contextmanager
    def under_way(self, job: Job, task: str | None) -> Iterator[None]:
        """While the block runs, progress tells of `job` under the client's name `task`."""
        self.jobs[job.id] = (job, task or "")
        try:
            yield
        finally:
            del self.jobs[job.id]

    async def interrupt(self) -> None:
        """Cancel what /progress tells of."""
        for job, _ in list(self.jobs.values())[:1]:
            await self.state.jobs.cancel(job.id, "interrupted")

    def progress(self, *, with_image: bool) -> dict[str, Any]:
        """Progress in [0, 1); idle is 0 with a job count of 0."""
        job, task = next(iter(self.jobs.values()), (None, ""))
        event = job.feed.latest if job else None
        step = event if isinstance(event, Step) else None
        share = step.index / step.total if step and step.total else 0.0
        preview = step.preview if step and with_image else None
        return {
            "progress": min(share, 0.99),
            "eta_relative": (job.eta(step) or 0.0) if job and step else 0.0,
            "state": {
                "skipped": False,
                "interrupted": False,
                "stopping_generation": False,
                "job": job.id if job else "",
                "job_count": len(self.jobs),
                "job_timestamp": "0",
                "job_no": 0,
                "sampling_step": step.index if step else 0,
                "sampling_steps": step.total if step else 0,
            },
            "current_image": base64.b64encode(preview).decode() if preview else None,
            "textinfo": None,
            "current_task": task or None,
        }
