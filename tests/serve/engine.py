"""Bundles to serve whose engines are NumPy, with knobs: how slow a step is, when one fails."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt
from tests.doubles.engines import FUNCTIONS, fake_bundle

from overpaint.bundle.format.manifest import File
from overpaint.bundle.tensor import Tensor
from overpaint.runtime import Img2Img
from overpaint.runtime.components import Components
from overpaint.runtime.engines import Engines
from overpaint.serve.jobs.engines.bundles import fingerprint, samplers_of
from overpaint.serve.jobs.engines.models import Served

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass
class Knobs:
    """`step_seconds`: of each denoising step. `failures`: the next steps raise these. `gate`: steps
    wait for it, and opening for `open_gate`. `runs` counts engine calls by component. The process
    is killed in the `deadly_step`, the first being 1."""

    step_seconds: float = 0.0
    failures: list[Exception] = field(default_factory=list)
    deadly_step: int = 0
    broken_open: Exception | None = None
    gate: threading.Event = field(default_factory=threading.Event)
    open_gate: threading.Event = field(default_factory=threading.Event)
    runs: dict[str, int] = field(default_factory=dict)
    open_now: int = 0
    opened: int = 0
    threads: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.gate.set()
        self.open_gate.set()

    def count(self, name: str) -> int:
        return self.runs.get(name, 0)


class Session:
    """One component: a function on arrays that obeys the knobs and remembers nothing."""

    device = "NumPy, by hand"

    def __init__(self, name: str, component: Any, knobs: Knobs) -> None:
        self.inputs: Mapping[str, Tensor] = {one.name: one for one in component.inputs}
        self.outputs: Mapping[str, Tensor] = {one.name: one for one in component.outputs}
        self._name, self._knobs = name, knobs

    def run(self, feed: Arrays) -> Arrays:
        knobs = self._knobs
        knobs.runs[self._name] = knobs.count(self._name) + 1
        if self._name == "unet":
            knobs.threads.add(threading.current_thread().name)
            knobs.gate.wait(20)
            time.sleep(knobs.step_seconds)
            if knobs.count(self._name) == knobs.deadly_step:
                os.kill(os.getpid(), signal.SIGKILL)
            if knobs.failures:
                raise knobs.failures.pop()
        return FUNCTIONS[self._name](feed)

    def bind(self, constants: Arrays) -> Any:
        return lambda feed: self.run({**constants, **feed})

    def close(self) -> None: ...


class Pipeline(Img2Img):
    """The real pipeline, which tells its knobs when it is closed."""

    knobs: Knobs

    def close(self) -> None:
        self.knobs.open_now -= 1
        super().close()


def fake_served(
    folder: Path, name: str = "fake", knobs: Knobs | None = None, *, megabytes: int = 1
) -> Served:
    """A bundle called `name` that counts as `megabytes` in memory."""
    knobs = knobs or Knobs()
    weights = {"unet/weights.bin": File(size=megabytes * 10**6, sha256="0" * 64, weights=True)}
    bundle = fake_bundle(folder / name, name=name, files=weights)

    def open_pipeline() -> Img2Img:
        knobs.open_gate.wait(20)
        if knobs.broken_open is not None:
            raise knobs.broken_open
        components = bundle.manifest.components
        sessions = Components(
            tuple(components),
            lambda one: Session(one, components[one], knobs),  # type: ignore[arg-type,return-value]
        )
        pipeline = Pipeline(Engines.of(bundle, sessions))
        pipeline.knobs = knobs
        knobs.open_now += 1
        knobs.opened += 1
        return pipeline.wait()

    return Served(
        name=name,
        manifest=bundle.manifest,
        fingerprint=fingerprint(bundle),
        bytes=megabytes * 10**6,
        side=64,
        samplers=samplers_of(bundle),
        open=open_pipeline,
    )
