"""What can run bundles, as its module in `backends` declares it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from overpaint.bundle.format.bundle import Bundle
    from overpaint.engines.session.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How a component's engine is to compute, and what it may take.

    gpu_memory: bytes of all components' weights that may lie on the GPU; None: all. low_memory:
    whether less of the host's memory is worth time in every run.
    """

    precision: str = "f32"
    gpu_memory: int | None = None
    low_memory: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A library on a device that can run bundles.

    name: what users say after --device.
    rank: where it stands among those that "auto" tries, the lowest first; None: on request only.
    how: says how it would run a bundle on this machine, as a clause for people: "onnxruntime
        1.31.1, 2 cores". Raises OverpaintError where it cannot; the message says why, and what
        mends it. It is called when it is asked for, never before: it may start a provider.
    open_session: opens one component's engine, of (bundle, component, what is asked). Raises
        SessionError or MissingExtraError where that fails.
    bounded: whether it keeps to `gpu_memory`.
    precisions: what it can compute in. "f32" is what the graph says.
    settles: whether the first runs of a size have work of their own to do, which a server does
        before the first job.
    held: says how many bytes of the host's memory a component's weights take of a process's own, of
        (bundle, component, what is asked); None where they lie on a GPU.
    free_memory: says how many bytes the GPU has left, for what runs on one. Raises SessionError
        where it cannot.
    """

    name: str
    rank: int | None
    how: Callable[[Bundle], str]
    open_session: Callable[[Bundle, str, Asked], Session]
    bounded: bool = False
    precisions: tuple[str, ...] = ("f32",)
    settles: bool = False
    held: Callable[[Bundle, str, Asked], int] | None = None
    free_memory: Callable[[], int] | None = None

    @property
    def in_host_memory(self) -> bool:
        """Whether weights and pictures lie in the host's memory, and not in a GPU's."""
        return self.held is not None


@dataclass(frozen=True, slots=True)
class Candidate:
    """Whether a backend can run a bundle here, and why or why not.

    `why` is a clause for people, without a full stop: "the bundle has no TensorRT plan".
    """

    device: str
    available: bool
    why: str
    on_request: bool = False  # "auto" does not take it
