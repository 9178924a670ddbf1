"""How far a build is, and stopping it: TensorRT's phases as one fraction."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any


@dataclass(slots=True)
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class Phases:
    """Nested phases, each some steps of its parent's current step, as a fraction that only grows.

    TensorRT calls from several threads, and names a phase anew once the last one of it is over.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, _Phase] = {}
        self._fraction = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        with self._lock:
            self._running[name] = _Phase(parent, max(steps, 1))

    def step(self, name: str, step: int) -> float:
        """A step (counted from 0) is over; return how far everything is."""
        with self._lock:
            if phase := self._running.get(name):
                phase.done = max(phase.done, min(step + 1, phase.steps))
            roots = [n for n, one in self._running.items() if one.parent not in self._running]
            now = sum(self._of(root) for root in roots) / len(roots) if roots else 0.0
            self._fraction = max(self._fraction, min(now, 1.0))
            return self._fraction

    def finish(self, name: str) -> None:
        with self._lock:
            self._running.pop(name, None)

    def _of(self, name: str) -> float:
        phase = self._running[name]
        within = sum(self._of(n) for n, one in self._running.items() if one.parent == name)
        return min((phase.done + min(within, 1.0)) / phase.steps, 1.0)


def make_monitor(
    trt: ModuleType, report: Callable[[float, str], None], cancelled: Callable[[], bool]
) -> Any:
    """A progress monitor of the class that this TensorRT takes.

    `report` is told the fraction and the phase's name. Once `cancelled` says yes, TensorRT is told
    at the end of its current step to stop.
    """
    phases = Phases()

    class Monitor(trt.IProgressMonitor):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            phases.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            report(phases.step(phase_name, step), phase_name)
            return not cancelled()

        def phase_finish(self, phase_name: str) -> None:
            phases.finish(phase_name)

    return Monitor()
