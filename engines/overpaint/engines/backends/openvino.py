"""Whether OpenVINO can run a bundle, and its sessions opened."""

from __future__ import annotations

import importlib.util
from importlib.metadata import version

from overpaint.bundle.format.bundle import Bundle
from overpaint.engines.host.cores import usable_cores
from overpaint.engines.session.candidate import Candidate

from .bf16 import Precision, measured
from .session import OpenVinoSession


def candidate(bundle: Bundle) -> Candidate:
    """OpenVINO runs every bundle where it is installed, and is never taken unasked."""
    if importlib.util.find_spec("openvino") is None:
        why = "openvino is not installed; install it with: pip install 'overpaint[openvino]'"
        return Candidate("openvino", False, why, on_request=True)
    cores = usable_cores()
    quality = measured(bundle)
    said = "not measured yet" if quality is None else f"{quality:.1f} dB against f32"
    why = f"openvino {version('openvino')}, {cores} core{'s' * (cores > 1)}; bf16: {said}"
    return Candidate("openvino", True, why, on_request=True)


def open_session(bundle: Bundle, component: str, precision: Precision = "f32") -> OpenVinoSession:
    """Open one component's engine on the processor."""
    described = bundle.component(component)
    graph = bundle.folder / described.graph
    return OpenVinoSession(component, graph, described, precision=precision)
