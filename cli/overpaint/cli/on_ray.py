"""A folder painted on the workers of a Ray cluster, each with engines of its own."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from overpaint.bundle.errors import OverpaintError
from overpaint.engines.backends import BACKENDS
from overpaint.scale.cluster import connect
from overpaint.scale.each import TRIES, each
from overpaint.scale.workers import once, workers_of

from .given import Given
from .painter import Order, Painted, Painter
from .plan import Plan
from .progress import progress_bar
from .record import remember
from .run_options import OnRay, Options


def painted_on_ray(
    plan: Plan, options: Options, given: Given, ray: OnRay
) -> Generator[tuple[Order, Painted], None, None]:
    """Yield what became of each picture, in the order in which they are finished.

    Raises UsageError, and whatever opening the engines raises in a worker.
    """
    connect(ray.address)
    backend = BACKENDS.get(options.device)
    gpu = None if backend is None else not backend.in_host_memory
    workers = workers_of(ray.workers, gpu=gpu, patience=ray.patience)
    # A worker that dies may have painted what it had in hand: whoever comes next looks first.
    options = replace(options, skip_existing=not options.force, ray=None)
    opening = Opening(options, given, os.getcwd())
    with progress_bar("opening engines in a worker"):
        engines = once(opening.told, workers)
    if isinstance(engines, OverpaintError):
        raise engines
    assert plan.run is not None
    remember(options.output, plan.run.painted_by(engines), force=options.force)
    painting = each(replace(opening, engines=engines), plan.orders, workers)
    with progress_bar("pictures") as advance:
        for done, (index, painted) in enumerate(painting, 1):
            advance(done, len(plan.orders))
            yield plan.orders[index], painted or _given_up(ray)


@dataclass(frozen=True, slots=True)
class Opening:
    """What each worker begins with. `folder`: the driver's, which paths are relative to.
    `engines`: those that every worker must have, so that it matters to no picture which one paints
    it; None for the first of them."""

    options: Options
    given: Given
    folder: str
    engines: Mapping[str, Any] | None = None

    def __call__(self) -> Painter:
        """Open the engines. Raises OverpaintError, also where they are others than the first's."""
        with contextlib.suppress(OSError):  # paths may all be absolute, or URLs
            os.chdir(self.folder)
        painter = Painter(self.options, self.given)
        here = painter.engines()
        if self.engines is not None and here != self.engines:
            painter.close()
            raise OverpaintError(
                f"{socket.gethostname()}: paints with {_words(here)}, and the run with "
                f"{_words(self.engines)}; say --device, so that every worker has the same engines"
            )
        return painter

    def told(self) -> Mapping[str, Any] | OverpaintError:
        """What the engines of a worker are, or why they cannot be opened."""
        try:
            with self() as painter:
                return painter.engines()
        except OverpaintError as error:
            return error


def _words(engines: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in engines.items() if value is not None)


def _given_up(ray: OnRay) -> Painted:
    told = (
        f"{TRIES} workers died or were replaced after {ray.patience:g} s over this picture "
        "(--patience); its memory, its file, or the engines' library may be why"
    )
    return Painted(failures=((None, OverpaintError(told)),))
