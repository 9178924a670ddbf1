"""Which of a bundle's plans runs it on this machine, or why none does."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from overpaint.bundle import layout
from overpaint.bundle.errors import MissingExtraError, SessionError
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.plans import origin

from .cards import CARDS, named
from .edition import RTX, TENSORRT, Edition
from .fit import Machine, misfits, runtime_for
from .gpu import find_gpu, platform_name
from .libraries import import_cudart, library, version_tuple
from .record import BUILD, BuildRecord, Plans, build_command, decode, folder_of
from .weightless import kept_plans, template_hashes


@dataclass(frozen=True, slots=True)
class Choice:
    """Plans that fit, and the package that runs them."""

    plans: Plans
    runtime: str


def fitting_plans(bundle: Bundle, edition: Edition, machine: Machine) -> Choice:
    """The plans for `edition` that `machine` can run `bundle` with.

    Raises:
        SessionError: none fits; the message says what differs and the command that mends it.
        IntegrityError: a folder of plans has no readable record.
    """
    reasons = []
    for plans in known_plans(bundle, edition):
        record = plans.record
        found = list(misfits(record, _made_of(bundle, record), machine))
        runtime = runtime_for(record, machine)
        if not found and runtime is not None:
            return Choice(plans, runtime)
        build = _building(bundle, record, machine)
        mends = {misfit.mend or build for misfit in found}
        differs = "; ".join(misfit.differs for misfit in found)
        where = folder_of(record.target) if record.weights == "inside" else plans.folder
        reasons.append(f"{where}: {differs}: {' && '.join(sorted(mends))}")
    raise SessionError(" | ".join(reasons) or "the bundle's plans have no build.json")


def known_plans(bundle: Bundle, edition: Edition) -> Iterator[Plans]:
    """Every folder of `edition`'s plans that the manifest lists: the newest TensorRT first, and
    exact plans before version-compatible ones, for who built them wanted them. After them those
    without weights that the user's cache has for the bundle's graphs."""
    paths = [path for path in plan_files(bundle, edition) if path.endswith(f"/{BUILD}")]
    found = [
        Plans(decode(file.read_bytes(), str(file)), file.parent) for file in map(bundle.path, paths)
    ]
    yield from sorted(found, key=_rank, reverse=True)
    if edition.portable:
        yield from sorted(kept_plans(bundle), key=_rank, reverse=True)


def _rank(plans: Plans) -> tuple[tuple[int, ...], bool]:
    return version_tuple(plans.record.tensorrt), not plans.record.version_compatible


def _made_of(bundle: Bundle, record: BuildRecord) -> Mapping[str, str]:
    """What plans like these have to be made of to run `bundle`, by component."""
    if record.weights == "inside":
        return {name: origin(bundle.manifest, name) for name in bundle.manifest.components}
    return template_hashes(bundle)


def _building(bundle: Bundle, record: BuildRecord, machine: Machine) -> str:
    """The command that builds such plans for this machine."""
    here = machine.compute_capability
    if not record.edition.portable or here in record.compute_capabilities:
        return build_command(bundle, record.edition, record.shapes, record.weights)
    if here not in CARDS:  # a data centre's
        return build_command(bundle, TENSORRT)
    command = build_command(bundle, RTX, record.shapes, record.weights)
    return f"{command} --compute-capability {here}"


def served_cards(plans: Iterable[Plans]) -> str:
    """ "; its plan serves compute capability 8.6 (Ampere: RTX 30), …" of plans that were built for
    several, else empty."""
    records = [one.record for one in plans if one.record.edition.portable]
    if not records:
        return ""
    served = " or ".join(named(one.compute_capabilities) for one in records)
    weightless = all(one.weights != "inside" for one in records)
    which = "the plan without weights that its graphs have here" if weightless else "its plan"
    return f"; {which} serves compute capability {served}"


def plan_files(bundle: Bundle, edition: Edition) -> list[str]:
    """What the manifest lists of `edition`'s plans."""
    beginning = f"{layout.PLANS}/{edition.prefix}"
    return [path for path in bundle.manifest.files if path.startswith(beginning)]


def has_plans(bundle: Bundle, edition: Edition) -> bool:
    """Whether there are plans that might run `bundle`; no record is held against anything."""
    listed = any(path.endswith(".plan") for path in plan_files(bundle, edition))
    return listed or (edition.portable and any(True for _ in kept_plans(bundle)))


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
