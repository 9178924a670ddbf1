"""Sessions on ONNX Runtime's CUDA provider."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .bundle import Bundle
from .candidate import Candidate
from .errors import SessionError
from .ort import providers

if TYPE_CHECKING:
    from .session import Session

PROVIDER = "CUDAExecutionProvider"


def candidate(bundle: Bundle) -> Candidate:
    """Whether this machine's onnxruntime has a CUDA provider."""
    found = providers()
    if found is None:
        return Candidate("cuda", False, "onnxruntime is not installed")
    if PROVIDER not in found:
        return Candidate("cuda", False, "the onnxruntime installed here has no CUDA provider")
    why = "this version of overpaint runs onnxruntime on the processor only"
    return Candidate("cuda", False, why)


def open_session(bundle: Bundle, component: str) -> Session:
    """Open one component's engine."""
    raise SessionError(f"{component}: {candidate(bundle).why}")
