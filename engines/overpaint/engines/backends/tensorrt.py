"""An NVIDIA GPU, by TensorRT and the plans that `overpaint build` puts into a bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from overpaint.engines.backend import Asked, Backend

if TYPE_CHECKING:
    from overpaint.bundle.format.bundle import Bundle
    from overpaint.engines.session.session import Session


def how(bundle: Bundle) -> str:
    """Raises SessionError: no plan fits this machine; the message says what mends it."""
    from overpaint.engines.tensorrt.edition import TENSORRT
    from overpaint.engines.tensorrt.opening import how_it_runs

    return how_it_runs(bundle, TENSORRT)


def open_session(bundle: Bundle, component: str, asked: Asked) -> Session:
    """Open one component's plan."""
    from overpaint.engines.tensorrt.edition import TENSORRT
    from overpaint.engines.tensorrt.opening import open_plan

    return open_plan(bundle, TENSORRT, component)


def free_memory() -> int:
    """Raises SessionError: the driver does not tell."""
    from overpaint.engines.host import nvidia

    return nvidia.free_memory()


# Its sessions run each size of their plans as they open, so nothing is left for a size's first run.
BACKEND = Backend(
    name="tensorrt", rank=1, how=how, open_session=open_session, free_memory=free_memory
)
