"""What runs a bundle on this machine: a decision that is made once, said, and kept to.

decision = choose(bundle)            # or choose(bundle, "tensorrt"), which never falls back
decision.chosen.device               # 'cpu'
for better in decision.passed_over:  # best first, each with the reason
    print(better.device, better.why)
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from overpaint.bundle.errors import SessionError, UsageError
from overpaint.bundle.format.bundle import Bundle
from overpaint.engines.session.candidate import Candidate, Device

if TYPE_CHECKING:
    from overpaint.engines.openvino.bf16 import Precision
    from overpaint.engines.session.protocol import Session

_LOG = logging.getLogger(__name__)


class Way(Protocol):
    """A module that runs bundles in one way. It is imported when it is asked, never before."""

    def candidate(self, bundle: Bundle) -> Candidate:
        """Whether it can run `bundle` here, and why or why not. Raises nothing."""
        ...

    def open_session(self, bundle: Bundle, component: str) -> Session:
        """Open one component's engine; SessionError or MissingExtraError where that fails."""
        ...


@dataclass(frozen=True, slots=True)
class Decision:
    """What was asked for, and what was chosen.

    `passed_over`: the better ways, best first, that cannot run the bundle here; none where one was
    named outright. `psnr_db`: how near this bundle's pictures in bf16 are to those in f32; None in
    f32.
    """

    requested: str
    chosen: Candidate
    passed_over: tuple[Candidate, ...] = ()
    precision: Precision = "f32"
    psnr_db: float | None = None


def choose(bundle: Bundle, device: str = "auto", precision: str = "f32") -> Decision:
    """Decide what runs `bundle`. A device named outright is taken or refused, never replaced.

    Asking a way may start it, so none is asked but the one that is named, or those that "auto"
    tries until it can take one.

    `precision` is OpenVINO's: everywhere else the graph decides what is computed in what.

    Raises:
        UsageError: `device` or `precision` is unknown, or they do not go together.
        MissingExtraError: nothing that could run the bundle is installed.
        SessionError: the named device cannot run the bundle; the message says why.
    """
    computed_in = check_device(device, precision)
    passed_over: list[Candidate] = []
    for way in (way for name, way in WAYS.items() if device in ("auto", name)):
        candidate = way().candidate(bundle)
        if candidate.available and (candidate.device == device or not candidate.on_request):
            for better in passed_over:
                _LOG.info("%s: not on %s: %s", bundle.folder, better.device, better.why)
            return Decision(device, candidate, tuple(passed_over), computed_in)
        passed_over.append(candidate)
    if device in ("auto", "cpu"):
        from .onnxruntime.library import import_onnxruntime

        import_onnxruntime()  # which says what keeps it from being here
    raise SessionError(
        f"--device {device} cannot run {bundle.folder}: {passed_over[0].why}. "
        "It does not fall back; --device auto takes the best that can"
    )


def candidates(bundle: Bundle) -> tuple[Candidate, ...]:
    """Every way to run `bundle`, in the order of WAYS, with what this machine says to it."""
    return tuple(way().candidate(bundle) for way in WAYS.values())


def open_session(bundle: Bundle, component: str, device: str | Decision = "auto") -> Session:
    """Open one component's engine where `device` (or a decision made before) says.

    Raises:
        BundleError: the bundle has no such component.
        SessionError: the engine cannot be opened.
        UsageError, MissingExtraError: as `choose`.
    """
    bundle.component(component)
    decision = device if isinstance(device, Decision) else choose(bundle, device)
    if decision.precision != "f32":
        from . import openvino

        return openvino.open_session(bundle, component, decision.precision)
    return WAYS[decision.chosen.device]().open_session(bundle, component)


def check_device(device: str, precision: str = "f32") -> Precision:
    """`precision`, where it is known, and `device` is, and they go together.

    Raises:
        UsageError: otherwise. Whether the device can run anything here is not asked.
    """
    known = ("auto", *WAYS)
    if device not in known:
        raise UsageError(f"--device: expected one of {', '.join(known)}; got {device!r}")
    if precision == "f32":
        return "f32"
    if precision != "bf16":
        raise UsageError(f"--precision: expected f32 or bf16; got {precision!r}")
    if device != "openvino":
        raise UsageError(f"--precision bf16 needs --device openvino; got {device}")
    return "bf16"


def _tensorrt() -> Way:
    from . import tensorrt

    return tensorrt


def _cuda() -> Way:
    from .onnxruntime import cuda

    return cuda


def _ort_tensorrt() -> Way:
    from .onnxruntime import tensorrt

    return tensorrt


def _openvino() -> Way:
    from . import openvino

    return openvino


def _cpu() -> Way:
    from overpaint.engines.onnxruntime.cpu import choose

    return choose


WAYS: Final[dict[Device, Callable[[], Way]]] = {
    "tensorrt": _tensorrt,
    "cuda": _cuda,
    "cpu": _cpu,
    "openvino": _openvino,
    "ort-tensorrt": _ort_tensorrt,
}
"""Those that "auto" takes, best first; then those on request."""
