"""What runs a bundle on this machine: a decision that is made once, said, and kept to.

decision = choose(bundle)              # or choose(bundle, "tensorrt"), which never falls back
decision.chosen.device                 # 'cpu'
for candidate in decision.candidates:  # best first, each with the reason
    print(candidate.device, candidate.available, candidate.why)
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from . import layout
from .bundle import Bundle
from .cores import usable_cores
from .errors import MissingExtraError, SessionError, UsageError

if TYPE_CHECKING:
    from .session import Session

Device: TypeAlias = Literal["tensorrt", "cuda", "openvino", "cpu"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to run a bundle: whether it can here, and why or why not."""

    device: Device
    available: bool
    why: str
    on_request: bool = False  # "auto" does not take it


@dataclass(frozen=True, slots=True)
class Decision:
    """What was asked for, what was chosen, and every way that was considered, best first."""

    requested: str
    chosen: Candidate
    candidates: tuple[Candidate, ...]


def choose(bundle: Bundle, device: str = "auto") -> Decision:
    """Decide what runs `bundle`. A device named outright is taken or refused, never replaced.

    Raises:
        UsageError: `device` is unknown.
        MissingExtraError: nothing that could run the bundle is installed.
        SessionError: the named device cannot run the bundle; the message says why.
    """
    known = ("auto", *get_args(Device))
    if device not in known:
        raise UsageError(f"--device: expected one of {', '.join(known)}; got {device!r}")
    considered = candidates(bundle)
    for candidate in considered:
        eligible = not candidate.on_request if device == "auto" else candidate.device == device
        if eligible and candidate.available:
            return Decision(device, candidate, considered)
    if device in ("auto", "cpu"):
        raise MissingExtraError("cpu", "onnxruntime")
    why = next(candidate.why for candidate in considered if candidate.device == device)
    raise SessionError(
        f"--device {device} cannot run {bundle.folder}: {why}. "
        "It does not fall back; --device auto takes the best that can"
    )


def candidates(bundle: Bundle) -> tuple[Candidate, ...]:
    """Every way to run `bundle`, best first, with what this machine says to it."""
    return (_tensorrt(bundle), _cuda(), _openvino(), _cpu())


def open_session(bundle: Bundle, component: str, device: str | Decision = "auto") -> Session:
    """Open one component's engine where `device` (or a decision made before) says.

    Raises:
        BundleError: the bundle has no such component.
        SessionError: the engine cannot be opened.
        UsageError, MissingExtraError: as `choose`.
    """
    from .ort import OnnxRuntimeSession  # brings NumPy, which deciding needs not

    described = bundle.component(component)
    if not isinstance(device, Decision):
        choose(bundle, device)
    return OnnxRuntimeSession(component, bundle.folder / described.graph, described)


def _tensorrt(bundle: Bundle) -> Candidate:
    plans = [path for path in bundle.manifest.files if path.startswith(f"{layout.PLANS}/")]
    if not plans:
        return Candidate("tensorrt", False, "the bundle has no TensorRT plan")
    return Candidate("tensorrt", False, "this version of overpaint does not run TensorRT plans")


def _cuda() -> Candidate:
    providers = _providers()
    if providers is None:
        return Candidate("cuda", False, "onnxruntime is not installed")
    if "CUDAExecutionProvider" not in providers:
        why = "the onnxruntime installed here has no CUDA provider"
        return Candidate("cuda", False, why)
    why = "this version of overpaint runs onnxruntime on the processor only"
    return Candidate("cuda", False, why)


def _openvino() -> Candidate:
    if importlib.util.find_spec("openvino") is None:
        why = "openvino is not installed"
    else:
        why = "this version of overpaint does not run OpenVINO"
    return Candidate("openvino", False, why, on_request=True)


def _cpu() -> Candidate:
    if _providers() is None:
        return Candidate("cpu", False, "onnxruntime is not installed: overpaint[cpu] brings it")
    from .ort import import_onnxruntime

    cores = usable_cores()
    version = import_onnxruntime().__version__
    return Candidate("cpu", True, f"onnxruntime {version}, {cores} core{'s' * (cores > 1)}")


def _providers() -> list[str] | None:
    """ONNX Runtime's execution providers, None where it is not installed."""
    from .ort import import_onnxruntime

    try:
        names: list[str] = import_onnxruntime().get_available_providers()
    except MissingExtraError:
        return None
    return names
