"""Does a folder of plans fit this machine and this bundle? If not: what differs, what mends it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .edition import LEAN
from .libraries import version_tuple
from .record import BuildRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What plans are held against. `runtimes` is package name -> version, of those that load;
    `broken` says of the others what kept them from it, where they are installed."""

    gpu: str
    compute_capability: str
    driver: str
    platform: str
    runtimes: Mapping[str, str]
    broken: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Misfit:
    """What differs, as a clause. `mend` is the command that helps, None for building anew."""

    differs: str
    mend: str | None = None


def misfits(record: BuildRecord, made_of: Mapping[str, str], machine: Machine) -> Iterator[Misfit]:
    """Yield every reason why these plans cannot run here; none where they can.

    Args:
        made_of: what each component's plan is to be made of, as the record has it.
    """
    if record.platform not in (None, machine.platform):
        yield Misfit(f"built for {record.platform}, and this is {machine.platform}")
    if machine.compute_capability not in record.compute_capabilities:
        tuned_on = f" ({record.gpu})" if record.gpu else ""
        yield Misfit(
            f"built for compute capability {', '.join(record.compute_capabilities)}{tuned_on}, "
            f"and this GPU has {machine.compute_capability} ({machine.gpu})"
        )
    if runtime_for(record, machine) is None:
        yield _no_runtime(record, machine)
    for name, wanted in made_of.items():
        plan = record.plans.get(name)
        if plan is None:
            yield Misfit(f"there is no plan for {name}")
        elif plan.made_of != wanted:
            yield Misfit(f"{name} has another graph or other weights than when its plan was built")


def runtime_for(record: BuildRecord, machine: Machine) -> str | None:
    """The package that runs these plans: the lean one before the full one, None if none can.

    A version-compatible plan runs on the TensorRT that built it and on later ones of its major
    version, lean or full; an exact one on precisely its own, full
    (docs.nvidia.com/deeplearning/tensorrt, Engine Compatibility). TensorRT for RTX builds exact
    ones only.
    """
    built = version_tuple(record.tensorrt)
    for name in record.edition.runtimes:
        if name not in machine.runtimes:
            continue
        here = version_tuple(machine.runtimes[name])
        if record.version_compatible:
            if here[0] == built[0] and here[:3] >= built[:3]:
                return name
        elif name != LEAN and here == built:
            return name
    return None


def _no_runtime(record: BuildRecord, machine: Machine) -> Misfit:
    installed = [f"{name} {version}" for name, version in machine.runtimes.items()]
    title = record.edition.title
    here = ", ".join((*installed, *machine.broken)) or f"no {title}"
    built = version_tuple(record.tensorrt)
    if not record.version_compatible:
        package = record.edition.builder.replace("_", "-")
        return Misfit(
            f"built for exactly {title} {record.tensorrt}, and here is {here}",
            f"pip install {package}=={record.tensorrt} cuda-python",
        )
    if any(version_tuple(version)[0] > built[0] for version in machine.runtimes.values()):
        return Misfit(f"built with TensorRT {record.tensorrt}, and here is {here}")
    wanted = ".".join(map(str, built[:3]))
    return Misfit(
        f"built with TensorRT {record.tensorrt}, and here is {here}",
        f"pip install --upgrade 'tensorrt-lean>={wanted},<{built[0] + 1}' cuda-python",
    )
