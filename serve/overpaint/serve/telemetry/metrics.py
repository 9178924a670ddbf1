"""Prometheus metrics. Labels are model names, stages, codes: nothing that a client wrote."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)


class Metrics:
    """One registry a server, so that two servers in a process do not mix."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "overpaint_http_requests",
            "HTTP requests by route and status",
            ("route", "status"),
            registry=registry,
        )
        self.waiting = Gauge("overpaint_queue_depth", "Jobs that wait", registry=registry)
        self.running = Gauge("overpaint_jobs_running", "Jobs that run", registry=registry)
        self.wait = Histogram(
            "overpaint_queue_wait_seconds",
            "From submission to the engine",
            buckets=SECONDS,
            registry=registry,
        )
        self.stages = Histogram(
            "overpaint_stage_seconds",
            "Seconds of a finished job by stage",
            ("model", "stage"),
            buckets=SECONDS,
            registry=registry,
        )
        self.outcomes = Counter(
            "overpaint_jobs", "Jobs by how they ended", ("outcome", "code"), registry=registry
        )
        self.refused = Counter(
            "overpaint_jobs_refused", "Jobs not taken, by reason", ("reason",), registry=registry
        )
        self.live = Gauge("overpaint_live_sessions", "Live sessions", registry=registry)
        self.frames = Counter(
            "overpaint_live_frames",
            "Frames of live sessions by what became of them",
            ("outcome",),
            registry=registry,
        )
        self.frame_seconds = Histogram(
            "overpaint_live_frame_seconds",
            "From a frame's arrival to its picture",
            buckets=SECONDS,
            registry=registry,
        )
        self.fallbacks = Counter(
            "overpaint_fallbacks",
            "Jobs given to a provider that is not the first, and why",
            ("provider", "reason"),
            registry=registry,
        )
        self.unsaved = Counter(
            "overpaint_results_not_saved",
            "Results kept in memory because the disk refused them",
            registry=registry,
        )
        self.unwritten = Counter(
            "overpaint_jobs_not_written",
            "Times that a job could not be written down, so that a crash may lose it",
            registry=registry,
        )
        self.replicas = Gauge(
            "overpaint_replicas",
            "Replicas on the Ray cluster by their state",
            ("state",),
            registry=registry,
        )
        self.replica_running = Gauge(
            "overpaint_replica_jobs_running",
            "Jobs of this server that a replica's engine works on",
            ("replica",),
            registry=registry,
        )
        self.replica_jobs = Counter(
            "overpaint_replica_jobs",
            "Jobs of this server that a replica began with, by how that ended",
            ("replica", "outcome"),
            registry=registry,
        )
        self.replica_seconds = Counter(
            "overpaint_replica_busy_seconds",
            "Seconds that a replica had a job of this server in its engine",
            ("replica",),
            registry=registry,
        )
        self.replica_losses = Counter(
            "overpaint_replica_losses",
            "Times that a job went to another replica, because one was lost or failed it",
            registry=registry,
        )

    def set_replicas(self, states: Mapping[str, int]) -> None:
        """How many replicas are in which state; none in any other."""
        self.replicas.clear()
        for state, count in states.items():
            self.replicas.labels(state.lower()).set(count)

    def text(self) -> bytes:
        return generate_latest(self.registry)
