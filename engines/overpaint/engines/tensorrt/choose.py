"""Which of a bundle's plans runs it on this machine, or why none does."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from overpaint.bundle import layout
from overpaint.bundle.errors import MissingExtraError, SessionError
from overpaint.bundle.format.bundle import Bundle

from .cards import CARDS, named
from .edition import RTX, TENSORRT, Edition
from .fit import Machine, misfits, runtime_for
from .gpu import find_gpu, platform_name
from .libraries import import_cudart, library, version_tuple
from .record import BUILD, BuildRecord, build_command, decode, folder_of


@dataclass(frozen=True, slots=True)
class Choice:
    """Plans that fit, and the package that runs them."""

    record: BuildRecord
    runtime: str


def fitting_plans(bundle: Bundle, edition: Edition, machine: Machine) -> Choice:
    """The bundle's plans for `edition` that `machine` can run.

    Raises:
        SessionError: none fits; the message says what differs and the command that mends it.
        IntegrityError: a folder of plans has no readable record.
    """
    reasons = []
    for record in records(bundle, edition):
        found = list(misfits(record, bundle.manifest, machine))
        runtime = runtime_for(record, machine)
        if not found and runtime is not None:
            return Choice(record, runtime)
        build = _building(bundle, record, machine)
        mends = {misfit.mend or build for misfit in found}
        differs = "; ".join(misfit.differs for misfit in found)
        reasons.append(f"{folder_of(record.target)}: {differs}: {' && '.join(sorted(mends))}")
    raise SessionError(" | ".join(reasons) or "the bundle's plans have no build.json")


def records(bundle: Bundle, edition: Edition) -> Iterator[BuildRecord]:
    """The record of every folder of `edition`'s plans that the manifest lists: the newest TensorRT
    first, and exact plans before version-compatible ones, for who built them wanted them."""
    paths = [path for path in plan_files(bundle, edition) if path.endswith(f"/{BUILD}")]
    found = [decode(bundle.path(p).read_bytes(), str(bundle.folder / p)) for p in paths]
    yield from sorted(
        found,
        key=lambda one: (version_tuple(one.tensorrt), not one.version_compatible),
        reverse=True,
    )


def _building(bundle: Bundle, record: BuildRecord, machine: Machine) -> str:
    """The command that builds such plans for this machine."""
    here = machine.compute_capability
    if not record.edition.portable or here in record.compute_capabilities:
        return build_command(bundle, record.edition, record.shapes)
    if here not in CARDS:  # a data centre's
        return build_command(bundle, TENSORRT)
    return f"{build_command(bundle, RTX, record.shapes)} --compute-capability {here}"


def served_cards(records: Iterable[BuildRecord]) -> str:
    """ "; its plan serves compute capability 8.6 (Ampere: RTX 30), …" of plans that were built for
    several, else empty."""
    served = [named(one.compute_capabilities) for one in records if one.edition.portable]
    return f"; its plan serves compute capability {' or '.join(served)}" if served else ""


def plan_files(bundle: Bundle, edition: Edition) -> list[str]:
    """What the manifest lists of `edition`'s plans."""
    beginning = f"{layout.PLANS}/{edition.prefix}"
    return [path for path in bundle.manifest.files if path.startswith(beginning)]


@functools.cache
def this_machine(edition: Edition) -> Machine:
    """What this machine has to run `edition`'s plans with; found out once.

    Raises:
        MissingExtraError: CUDA's Python calls are not installed.
        SessionError: there is no GPU.
    """
    gpu = find_gpu(import_cudart())
    runtimes, broken = {}, []
    for name in edition.runtimes:
        try:
            runtimes[name] = library(name).version
        except MissingExtraError:
            continue
        except SessionError as error:
            broken.append(str(error))
    return Machine(
        gpu=gpu.name,
        driver=gpu.driver,
        compute_capability=gpu.compute_capability,
        platform=platform_name(),
        runtimes=runtimes,
        broken=tuple(broken),
    )
