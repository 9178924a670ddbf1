"""A job as its client sees it, from submission to the kept result."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Literal

from .feed import Feed
from .ledger import Accepted
from .protocol import Cancelled, Event, Failed, Painted, Queued, Started, Step

Status = Literal["queued", "running", "completed", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Tried:
    """A provider that did not do it, and why."""

    provider: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete:
    """The last event of a job that worked: its pictures are kept under `media`, in order."""

    media: tuple[str, ...]
    painted: Painted


JobEvent = Queued | Started | Step | Complete | Failed | Cancelled
STATUS: dict[type[Event] | type[Complete], Status] = {
    Queued: "queued",
    Started: "running",
    Step: "running",
    Complete: "completed",
    Failed: "failed",
    Cancelled: "cancelled",
}


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """`provider` has it, under `ticket` once it took it; `tried` are the providers before that one.
    `client` is who asked for it, by a name of its own or by its address. `accepted` is what a
    restart goes on with, None for a job that ends with the process."""

    id: str
    model: str
    provider: str
    ticket: str
    client: str | None = None
    accepted: Accepted | None = None
    tried: list[Tried] = field(default_factory=list)
    feed: Feed[JobEvent] = field(default_factory=Feed)
    cancelled: Cancelled | None = None
    created_at: float = field(default_factory=time.time)
    started_at: float | None = None
    finished_at: float | None = None
    expires_at: float | None = None
    first_step: tuple[float, int] | None = None

    def note(self, event: JobEvent, *, last: bool) -> None:
        """Publish `event`, keeping the times from which an estimate is made."""
        now = time.time()
        if not isinstance(event, Queued) and self.started_at is None:
            self.started_at = now
        if isinstance(event, Step) and self.first_step is None:
            self.first_step = (time.monotonic(), event.index)
        self.feed.publish(event, last=last)

    @property
    def fallback(self) -> str | None:
        """Why the first provider does not have it; None where it does."""
        return self.tried[0].reason if self.tried else None

    def eta(self, step: Step) -> float | None:
        """Seconds left, from the measured steps of this very job."""
        if self.first_step is None or step.index <= self.first_step[1]:
            return None
        since, index = self.first_step
        return (time.monotonic() - since) / (step.index - index) * (step.total - step.index)

    def view(self, last: JobEvent | None = None) -> dict[str, Any]:
        """What GET /v1/jobs/{id} answers; with `last`, the event that is about to end it."""
        event = last or self.feed.latest
        return {
            "id": self.id,
            "status": STATUS[type(event)] if event is not None else "queued",
            "model": self.model,
            "created_at": self.created_at,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "expires_at": self.expires_at,
            "queue_position": event.position if isinstance(event, Queued) else None,
            "progress": self._progress(event),
            "result": _result(event) if isinstance(event, Complete) else None,
            "error": _error(event),
            "provider": self.provider,
            "fallback": self.fallback,
            "restarts": self.accepted.restarts if self.accepted else 0,
            "tried": [
                {"provider": one.provider, "reason": one.reason, "message": one.message}
                for one in self.tried
            ],
        }

    def _progress(self, event: JobEvent | None) -> dict[str, Any] | None:
        if not isinstance(event, Step):
            return None
        eta = self.eta(event)
        return {
            "step": event.index,
            "total": event.total,
            "eta_s": None if eta is None else round(eta, 3),
        }


def _result(event: Complete) -> dict[str, Any]:
    painted = event.painted
    return {
        "media": list(event.media),
        "seeds": list(painted.seeds),
        "steps_run": painted.steps_run,
        "timings": dict(painted.timings),
        "device": painted.device,
        "settings": dict(painted.settings),
        "warnings": list(painted.warnings),
    }


def _error(event: JobEvent | None) -> dict[str, Any] | None:
    if isinstance(event, Failed):
        return {"code": event.code, "message": event.message, "id": event.id}
    if isinstance(event, Cancelled):
        return {"code": "cancelled", "message": event.why, "id": None}
    return None
