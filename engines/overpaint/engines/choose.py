"""What runs a bundle on this machine: decided once, told to the user, and kept to.

decision = choose(bundle)            # or choose(bundle, "tensorrt"), which never falls back
decision.chosen.device               # 'cpu'
for better in decision.passed_over:  # best first, each with the reason
    print(better.device, better.why)
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from overpaint.bundle.errors import MissingExtraError, OverpaintError, SessionError, UsageError

from .backend import Asked, Backend, Candidate
from .backends import BACKENDS

if TYPE_CHECKING:
    from overpaint.bundle.format.bundle import Bundle
    from overpaint.bundle.format.manifest import Component
    from overpaint.engines.session.session import Session

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Decision:
    """What was asked for, and what was chosen.

    `passed_over`: the better backends, best first, that cannot run the bundle here; none where one
    was named. `psnr_db`: how near this bundle's pictures in `precision` are to those in f32; None
    in f32. The rest is as `Asked` has it.
    """

    requested: str
    chosen: Candidate
    passed_over: tuple[Candidate, ...] = ()
    precision: str = "f32"
    psnr_db: float | None = None
    gpu_memory: int | None = None
    low_memory: bool = False

    @property
    def asked(self) -> Asked:
        """What a backend is told."""
        return Asked(
            precision=self.precision, gpu_memory=self.gpu_memory, low_memory=self.low_memory
        )


def choose(
    bundle: Bundle, device: str = "auto", precision: str = "f32", gpu_memory: int | None = None
) -> Decision:
    """Decide what runs `bundle`. A device that is named is taken or refused, never replaced.

    Asking a backend may start it, so none is asked but the one that is named, or those that "auto"
    tries until one can.

    Raises:
        UsageError: as `check_device`.
        MissingExtraError: what would run the bundle is not installed.
        SessionError: the named device cannot run the bundle; the message says why.
    """
    check_device(device, precision, gpu_memory)
    passed_over: list[Candidate] = []
    reason: OverpaintError | None = None
    for backend in _meant_by(device):
        candidate, reason = _ask(backend, bundle)
        if reason is None:
            for better in passed_over:
                _LOG.info("%s: not on %s: %s", bundle.folder, better.device, better.why)
            return Decision(device, candidate, tuple(passed_over), precision, gpu_memory=gpu_memory)
        passed_over.append(candidate)
    if isinstance(reason, MissingExtraError):
        raise reason
    raise SessionError(
        f"--device {device} cannot run {bundle.folder}: {passed_over[-1].why}. "
        "It does not fall back; --device auto takes the best that can"
    )


def candidates(bundle: Bundle) -> tuple[Candidate, ...]:
    """What every backend says to `bundle` on this machine, in the order of BACKENDS."""
    return tuple(_ask(backend, bundle)[0] for backend in BACKENDS.values())


def open_session(bundle: Bundle, component: str, device: str | Decision = "auto") -> Session:
    """Open one component's engine where `device` (or a decision made before) says.

    Raises:
        BundleError: the bundle has no such component.
        SessionError: the engine cannot be opened.
        UsageError, MissingExtraError: as `choose`.
    """
    bundle.component(component)
    decision = device if isinstance(device, Decision) else choose(bundle, device)
    return BACKENDS[decision.chosen.device].open_session(bundle, component, decision.asked)


def open_graph(name: str, graph: str | os.PathLike[str], component: Component) -> Session:
    """Open a graph that belongs to no bundle, on the processor.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        SessionError: it cannot be loaded, or is not what `component` says.
    """
    from .onnxruntime.cpu.engine import cpu_session

    return cpu_session(name, graph, component)


def check_device(device: str, precision: str = "f32", gpu_memory: int | None = None) -> None:
    """Check that device, precision and bound are known and go together. Whether the device can run
    anything here is not asked.

    Raises:
        UsageError: they are not, or do not.
    """
    if device not in ("auto", *BACKENDS):
        known = ", ".join(("auto", *BACKENDS))
        raise UsageError(f"--device: expected one of {known}; got {device!r}")
    able = [backend.name for backend in BACKENDS.values() if precision in backend.precisions]
    if not able:
        every = dict.fromkeys(one for backend in BACKENDS.values() for one in backend.precisions)
        *others, last = every
        raise UsageError(f"--precision: expected {', '.join(others)} or {last}; got {precision!r}")
    if any(precision not in backend.precisions for backend in _meant_by(device)):
        raise UsageError(
            f"--precision {precision} needs --device {' or '.join(able)}; got {device}"
        )
    if gpu_memory is not None and not all(one.bounded for one in _meant_by(device)):
        able = [backend.name for backend in BACKENDS.values() if backend.bounded]
        raise UsageError(f"--gpu-memory needs --device {' or '.join(able)}; got {device}")


def _meant_by(device: str) -> list[Backend]:
    """The backend that is named, or those that "auto" tries, best first."""
    if device == "auto":
        return [backend for backend in BACKENDS.values() if backend.rank is not None]
    return [BACKENDS[device]]


def _ask(backend: Backend, bundle: Bundle) -> tuple[Candidate, OverpaintError | None]:
    """What a backend says to a bundle, and the error that says why it cannot run it."""
    on_request = backend.rank is None
    try:
        return Candidate(backend.name, True, backend.how(bundle), on_request), None
    except OverpaintError as error:
        return Candidate(backend.name, False, str(error).rstrip("."), on_request), error
