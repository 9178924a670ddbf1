"""An RTX card, by TensorRT for RTX and the plans that `overpaint build` puts into a bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from overpaint.engines.backend import Asked, Backend

if TYPE_CHECKING:
    from overpaint.bundle.format.bundle import Bundle
    from overpaint.engines.session.session import Session


def how(bundle: Bundle) -> str:
    """Raises SessionError: no plan fits this machine; the message says what mends it."""
    from overpaint.engines.tensorrt.edition import RTX
    from overpaint.engines.tensorrt.opening import how_it_runs

    return how_it_runs(bundle, RTX)


def open_session(bundle: Bundle, component: str, asked: Asked) -> Session:
    """Open one component's plan, whose weights lie in the host's memory beyond a bound."""
    from overpaint.engines.tensorrt.edition import RTX
    from overpaint.engines.tensorrt.opening import open_plan

    return open_plan(bundle, RTX, component, asked.gpu_memory)


def free_memory() -> int:
    """Raises SessionError: the driver does not tell."""
    from overpaint.engines.host import nvidia

    return nvidia.free_memory()


# A size's kernels are compiled for the card when it is first used.
BACKEND = Backend(
    name="tensorrt-rtx",
    rank=2,
    how=how,
    open_session=open_session,
    bounded=True,
    settles=True,
    free_memory=free_memory,
)
