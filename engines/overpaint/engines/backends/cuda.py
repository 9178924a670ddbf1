"""An NVIDIA GPU, by ONNX Runtime's CUDA provider."""

from __future__ import annotations

from typing import TYPE_CHECKING

from overpaint.engines.backend import Asked, Backend

if TYPE_CHECKING:
    from overpaint.bundle.format.bundle import Bundle
    from overpaint.engines.session.session import Session


def how(bundle: Bundle) -> str:
    """Raises SessionError: the provider does not start."""
    from overpaint.engines.onnxruntime.cuda.start import start

    return start()


def open_session(bundle: Bundle, component: str, asked: Asked) -> Session:
    """Open one component's engine on the GPU.

    Raises:
        SessionError: the provider does not start, or cannot load the graph.
    """
    from overpaint.engines.onnxruntime.cuda.engine import cuda_session
    from overpaint.engines.onnxruntime.cuda.start import start

    described = bundle.component(component)
    return cuda_session(component, bundle.folder / described.graph, described, where=start())


def free_memory() -> int:
    """Raises SessionError: the driver does not tell."""
    from overpaint.engines.host import nvidia

    return nvidia.free_memory()


# A size that is met again is captured as a CUDA graph.
BACKEND = Backend(
    name="cuda", rank=3, how=how, open_session=open_session, settles=True, free_memory=free_memory
)
