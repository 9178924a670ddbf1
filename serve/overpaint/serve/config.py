"""How a server is set up: what its operator decides, in one place."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from overpaint.bundle.errors import UsageError
from overpaint.serve.http.limits import Limits
from overpaint.serve.jobs.providers import make_of
from overpaint.serve.jobs.styles import Styles


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A server. `folder` is where results are kept, None for memory; sizes are in bytes, times in
    seconds. `allowed_hosts` are names beside the bound one by which clients may call it."""

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    image_hosts: tuple[str, ...] = ()
    queue: int = 16
    live_sessions: int = 2
    job_seconds: float = 600.0
    upload_seconds: float = 300.0
    upload_bytes: int = 256_000_000
    result_seconds: float = 3600.0
    result_bytes: int = 512_000_000
    folder: Path | None = None
    memory_budget: int | None = None
    provider: str = "local"
    fallbacks: tuple[str, ...] = ()
    fallback_token: str | None = None
    drain_seconds: float = 30.0
    styles: Styles = field(default_factory=Styles)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not is_loopback(self.host) and not self.token:
            raise UsageError(
                f"--host {self.host}: anybody who reaches that address could use this server; "
                "give a --token (or OVERPAINT_TOKEN), or stay on 127.0.0.1"
            )
        if self.token is not None and len(self.token) < 16:
            raise UsageError("--token: expected 16 characters or more, since it is all that guards")
        if self.queue < 1:
            raise UsageError(f"--queue: expected 1 or more, got {self.queue}")
        if self.live_sessions < 0:
            raise UsageError(f"--live-sessions: expected 0 or more, got {self.live_sessions}")
        for url in self.providers:
            try:
                make_of(url)
            except UsageError as error:
                option = "--provider" if url == self.provider else "--fallback"
                raise UsageError(f"{option}: {error}") from None

    @property
    def providers(self) -> tuple[str, ...]:
        """The URLs of all who may run a job, in the order in which they are asked."""
        return self.provider, *self.fallbacks


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
