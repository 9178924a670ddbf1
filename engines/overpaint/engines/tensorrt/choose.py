"""Which of a bundle's plans runs it on this machine, or why none does."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from overpaint.bundle import layout
from overpaint.bundle.errors import MissingExtraError, SessionError
from overpaint.bundle.format.bundle import Bundle

from .fit import Machine, misfits, runtime_for
from .gpu import find_gpu, platform_name
from .libraries import FULL, LEAN, import_cudart, library, version_tuple
from .record import BUILD, BuildRecord, build_command, decode, folder_of


@dataclass(frozen=True, slots=True)
class Choice:
    """Plans that fit, and the package that runs them."""

    record: BuildRecord
    runtime: str


def fitting_plans(bundle: Bundle, machine: Machine) -> Choice:
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
