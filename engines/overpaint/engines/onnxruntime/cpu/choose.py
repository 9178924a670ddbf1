"""Whether the processor can run a bundle, and its sessions opened."""

from __future__ import annotations

from overpaint.bundle.errors import MissingExtraError
from overpaint.bundle.format.bundle import Bundle
from overpaint.engines.host.cores import usable_cores
from overpaint.engines.onnxruntime.library import import_onnxruntime, why_not
from overpaint.engines.session.candidate import Candidate

from .plans import fitting_plan
from .session import OnnxRuntimeSession


def candidate(bundle: Bundle) -> Candidate:
    """The processor runs every bundle, where onnxruntime is installed."""
    try:
        version = import_onnxruntime().__version__
    except MissingExtraError as error:
        return Candidate("cpu", False, why_not(error))
    cores = usable_cores()
    built = any(fitting_plan(bundle, name) for name in bundle.manifest.components)
    how = f"onnxruntime {version}, {cores} core{'s' * (cores > 1)}{', plans built for it' * built}"
    return Candidate("cpu", True, how)


def open_session(bundle: Bundle, component: str) -> OnnxRuntimeSession:
    """Open one component's engine on the processor: from its plan, where one fits."""
    described = bundle.component(component)
    plan = fitting_plan(bundle, component)
    graph = bundle.folder / described.graph
    return OnnxRuntimeSession(component, graph, described, plan=plan)
