"""TensorRT inside ONNX Runtime, on request: it builds its engines anew in each process.

It wants TensorRT 10 where the plans of `overpaint build` are 11, so it is offered where its library
loads and goes no further than that. Has not run on hardware.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from overpaint.bundle.errors import SessionError
from overpaint.bundle.format.bundle import Bundle
from overpaint.engines.onnxruntime.cuda.choose import open_on, started
from overpaint.engines.onnxruntime.cuda.options import tensorrt
from overpaint.engines.session.candidate import Candidate

if TYPE_CHECKING:
    from overpaint.engines.session.protocol import Session


def candidate(bundle: Bundle) -> Candidate:
    """Whether ONNX Runtime's TensorRT provider starts on this machine, and if not, why."""
    try:
        where = started(tensorrt())
    except SessionError as error:
        return Candidate("ort-tensorrt", False, str(error), on_request=True)
    why = f"{where}; on request, for it builds its engines anew in each process"
    return Candidate("ort-tensorrt", True, why, on_request=True)


def open_session(bundle: Bundle, component: str) -> Session:
    """Open one component's engine there; it is built at the first run of each size.

    Raises:
        SessionError: the provider does not start, or cannot load the graph.
    """
    return open_on(bundle, component, tensorrt())
