"""What a front door and the replicas behind it on a Ray cluster have in common."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Final

from .capabilities import ModelCapabilities

APPLICATION: Final = "overpaint"
"""The name of the Serve application whose one deployment runs the jobs."""


@dataclass(frozen=True, slots=True)
class About:
    """A replica as it is now, which is what it answers first to every job.

    `jobs` are given to it at once: one runs, the others are there when that ends.
    """

    replica: str
    jobs: int
    models: tuple[ModelCapabilities, ...]


def ray_serve() -> Any:
    """The library, which tells of everything it does on stderr otherwise; where Ray is there."""
    from ray import serve

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    return serve
