"""What a build may take, guessed from the graphs' bytes before it begins."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final

from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.graph.count import count

from .edition import Edition
from .gpu import free_memory
from .shapes import Profile

BYTES: Final = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What a build takes beside `copies` of the largest component's weights: `libraries` bytes.

    device: the same for the GPU, None where none is used. per_node: seconds for each node and
    profile, per_gigabyte: for each of weights, each as (least, most).
    """

    copies: int
    device: int | None
    libraries: int
    per_node: tuple[float, float]
    per_gigabyte: tuple[float, float]
    measured: str


RATES: Final = {
    # NVIDIA: two copies at least, the network's and the engine's, and merged ones besides; on the
    # GPU the engine's, and those of the kernels that are being timed. Seconds from others' builds.
    "tensorrt": Rates(
        copies=3,
        device=2,
        libraries=2_000_000_000,
        per_node=(0.03, 0.3),
        per_gigabyte=(0, 0),
        measured="not measured",
    ),
    # bench/results/tensorrt-rtx-2-cores.json: 12 to 40 CPU seconds a gigabyte, 3 times the bytes.
    "tensorrt-rtx": Rates(
        copies=3,
        device=None,
        libraries=1_000_000_000,
        per_node=(0, 0),
        per_gigabyte=(7, 40),
        measured="measured on two cores",
    ),
    # bench/results/tensorrt-rtx-weightless-2-cores.json, weights as inputs.
    "weightless": Rates(
        copies=3,
        device=None,
        libraries=1_000_000_000,
        per_node=(0.003, 0.02),
        per_gigabyte=(0, 0),
        measured="measured on two cores",
    ),
}
PLAN_OF_NODE: Final = 15_000  # bytes that a node adds to a plan without weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Bytes and minutes, all of them guesses.

    `weights` is the largest component's, in the type that it computes in; `plans` all files';
    `device` is None where no GPU is used. `measured` says what the guess comes from.
    """

    weights: int
    host: int
    device: int | None
    plans: int
    minutes: tuple[float, float]
    measured: str


def estimate(
    bundle: Bundle,
    profiles: Mapping[str, Sequence[Profile]],
    edition: Edition,
    *,
    weightless: bool = False,
) -> Estimate:
    """Guess what building `profiles` takes; components are built one after the other."""
    weights, nodes = {}, 0
    rates = RATES["weightless" if weightless else edition.name]
    for name, each in profiles.items():
        component = bundle.component(name)
        graph = count(bundle.folder / component.graph)
        size = BYTES.get(component.compute_dtype, 4)
        weights[name] = PLAN_OF_NODE * graph.nodes if weightless else graph.weights * size
        nodes += len(each) * graph.nodes
    largest, total = max(weights.values()), sum(weights.values())
    low, high = (
        (per_node * nodes + per_gigabyte * total / 1e9) / 60
        for per_node, per_gigabyte in zip(rates.per_node, rates.per_gigabyte, strict=True)
    )
    return Estimate(
        weights=largest,
        host=rates.copies * largest + rates.libraries,
        device=None if rates.device is None else rates.device * largest + rates.libraries,
        plans=total,
        minutes=(low, high),
        measured=rates.measured,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Bytes that are free now; None where the system does not say."""

    device: int | None
    host: int | None
    disk: int


def room_here(cudart: ModuleType | None, folder: Path) -> Room:
    """What this machine has left for a build into `folder`; no GPU is asked without `cudart`."""
    device = None if cudart is None else free_memory(cudart)
    return Room(device=device, host=_free_host(), disk=shutil.disk_usage(folder).free)


def shortages(guess: Estimate, room: Room) -> Iterator[str]:
    """Yield where the guess is more than there is: a build that fails half way is the worst one."""
    for what, wanted, there in (
        ("on the GPU", guess.device, room.device),
        ("of memory", guess.host, room.host),
        ("on the disk", guess.plans, room.disk),
    ):
        if wanted is not None and there is not None and wanted > there:
            yield (
                f"the build may want {wanted / 1e9:.1f} GB {what}, and {there / 1e9:.1f} GB are "
                "free; it goes on, and may fail half way"
            )


def _free_host() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None


def conversions(bundle: Bundle) -> Iterator[str]:
    """Yield where weights are stored in another type than they are computed in.

    A Cast stands behind each then. NVIDIA's parser reads what comes out of a node as weights that
    change from run to run (`convMultiInput`), and whether TensorRT folds them after all is unknown.
    """
    for name, component in bundle.manifest.components.items():
        stored = count(bundle.folder / component.graph).stored
        if other := sorted(stored - {component.compute_dtype}):
            yield (
                f"{name}: its weights are stored in {' and '.join(other)} and computed in "
                f"{component.compute_dtype}, and TensorRT may run it slower, or not at all; a "
                f"bundle made by overpaint export --dtype {component.compute_dtype} --store "
                f"{component.compute_dtype} has them as they are used"
            )
