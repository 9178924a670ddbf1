"""Which of a bundle's plans runs it on this machine, and what is said where none does."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from overpaint.bundle import layout
from overpaint.bundle.errors import MissingExtraError, OverpaintError, SessionError
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.installed import install_command
from overpaint.engines.session.candidate import Candidate

from .fit import Machine, misfits, runtime_for
from .gpu import find_gpu, platform_name
from .libraries import FULL, LEAN, import_cudart, library, version_tuple
from .record import BUILD, BuildRecord, build_command, decode, folder_of

if TYPE_CHECKING:
    from overpaint.engines.session.protocol import Session


@dataclass(frozen=True, slots=True)
class Choice:
    """Plans that fit, and the package that runs them."""

    record: BuildRecord
    runtime: str


def candidate(bundle: Bundle) -> Candidate:
    """Whether one of the bundle's plans fits this machine; if not, what differs and what mends it.

    Raises nothing. TensorRT and CUDA are asked only where there is a plan.
    """
    if not any(path.endswith(".plan") for path in bundle.manifest.files):
        why = f"the bundle has no TensorRT plan; make one: {build_command(bundle)}"
        return Candidate("tensorrt", False, why)
    try:
        machine = this_machine()
        choice = choose(bundle, machine)
    except MissingExtraError as error:
        why = f"CUDA cannot be asked: {install_command(error.extra)}"
        return Candidate("tensorrt", False, why)
    except OverpaintError as error:
        return Candidate("tensorrt", False, str(error).rstrip("."))
    record, version = choice.record, machine.runtimes[choice.runtime]
    why = f"{choice.runtime} {version} on {machine.gpu}, plans for {', '.join(record.shapes)}"
    if record.gpu != machine.gpu:
        why += f", tuned on {record.gpu}"
    return Candidate("tensorrt", True, why)


def open_session(bundle: Bundle, component: str) -> Session:
    """Open one component's plan.

    Raises:
        SessionError: no plan fits, or it cannot be loaded.
        MissingExtraError: CUDA's Python calls are not installed.
    """
    from .session import TensorRTSession  # NumPy, which deciding needs not

    machine = this_machine()
    choice = choose(bundle, machine)
    return TensorRTSession(bundle, component, choice.record, library(choice.runtime), machine.gpu)


def choose(bundle: Bundle, machine: Machine) -> Choice:
    """The bundle's plans that `machine` can run.

    Raises:
        SessionError: none fits; the message says what differs and the command that mends it.
        IntegrityError: a folder of plans has no readable record.
    """
    reasons = []
    for record in records(bundle):
        found = list(misfits(record, bundle.manifest, machine))
        runtime = runtime_for(record, machine)
        if not found and runtime is not None:
            return Choice(record, runtime)
        mends = {misfit.mend or build_command(bundle, record.shapes) for misfit in found}
        differs = "; ".join(misfit.differs for misfit in found)
        reasons.append(f"{folder_of(record.target)}: {differs}: {' && '.join(sorted(mends))}")
    raise SessionError(" | ".join(reasons) or "the bundle's plans have no build.json")


def records(bundle: Bundle) -> Iterator[BuildRecord]:
    """The record of every folder of plans that the manifest lists: the newest TensorRT first, and
    exact plans before version-compatible ones, for who built them wanted them."""
    paths = [
        path
        for path in bundle.manifest.files
        if path.startswith(f"{layout.PLANS}/trt") and path.endswith(f"/{BUILD}")
    ]
    found = [decode(bundle.path(p).read_bytes(), str(bundle.folder / p)) for p in paths]
    yield from sorted(
        found,
        key=lambda one: (version_tuple(one.tensorrt), not one.version_compatible),
        reverse=True,
    )


@functools.cache
def this_machine() -> Machine:
    """What this machine has to run plans with; found out once.

    Raises:
        MissingExtraError: CUDA's Python calls are not installed.
        SessionError: there is no GPU.
    """
    gpu = find_gpu(import_cudart())
    runtimes, broken = {}, []
    for name in (LEAN, FULL):
        try:
            runtimes[name] = library(name).version
        except MissingExtraError:
            continue
        except SessionError as error:
            broken.append(str(error))
    return Machine(
        gpu=gpu.name,
        compute_capability=gpu.compute_capability,
        platform=platform_name(),
        runtimes=runtimes,
        broken=tuple(broken),
    )
