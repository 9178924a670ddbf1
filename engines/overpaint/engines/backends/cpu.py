"""The processor, by ONNX Runtime: it runs every bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from overpaint.engines.backend import Asked, Backend

if TYPE_CHECKING:
    from overpaint.bundle.format.bundle import Bundle
    from overpaint.engines.session.session import Session


def how(bundle: Bundle) -> str:
    """Raises MissingExtraError: onnxruntime is not installed."""
    from overpaint.engines.host.cores import usable_cores
    from overpaint.engines.onnxruntime.cpu.plans import fitting_plan
    from overpaint.engines.onnxruntime.library import import_onnxruntime

    version, cores = import_onnxruntime().__version__, usable_cores()
    built = any(fitting_plan(bundle, name) for name in bundle.manifest.components)
    return f"onnxruntime {version}, {cores} core{'s' * (cores > 1)}{', plans built for it' * built}"


def open_session(bundle: Bundle, component: str, asked: Asked) -> Session:
    """Open one component's engine: from its plan, where one fits."""
    from overpaint.engines.onnxruntime.cpu.engine import cpu_session
    from overpaint.engines.onnxruntime.cpu.plans import fitting_plan

    described = bundle.component(component)
    plan = fitting_plan(bundle, component)
    graph = bundle.folder / described.graph
    return cpu_session(component, graph, described, plan=plan, low_memory=asked.low_memory)


def held(bundle: Bundle, component: str, asked: Asked) -> int:
    """float32, but for halves that stay mapped."""
    from overpaint.engines.onnxruntime.cpu.halves import widened

    return 4 * widened(bundle.folder / bundle.component(component).graph, asked.low_memory)


BACKEND = Backend(name="cpu", rank=4, how=how, open_session=open_session, held=held)
