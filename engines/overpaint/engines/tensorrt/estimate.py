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

from .gpu import free_memory
from .shapes import Profile

BYTES: Final = {"float32": 4, "float16": 2, "bfloat16": 2}
HOST_COPIES: Final = 3  # NVIDIA: two at least, the network's and the engine's; merged ones besides
DEVICE_COPIES: Final = 2  # the engine's, and those of the kernels that are being timed
LIBRARIES: Final = 2_000_000_000  # bytes that TensorRT and CUDA take by themselves, each side
SECONDS_PER_NODE: Final = (0.03, 0.3)  # and profile; from published builds, none of them ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Bytes and minutes, all of them guesses: nothing here was measured by this project.

    `weights` is the largest component's, in the type that it computes in; `plans` all files'.
    """

    weights: int
    host: int
    device: int
    plans: int
    minutes: tuple[float, float]


def estimate(bundle: Bundle, profiles: Mapping[str, Sequence[Profile]]) -> Estimate:
    """Guess what building `profiles` takes; components are built one after the other."""
    weights, nodes = {}, 0
    for name, each in profiles.items():
        component = bundle.component(name)
        graph = count(bundle.folder / component.graph)
        weights[name] = graph.weights * BYTES.get(component.compute_dtype, 4)
        nodes += len(each) * graph.nodes
    largest = max(weights.values())
    return Estimate(
        weights=largest,
        host=HOST_COPIES * largest + LIBRARIES,
        device=DEVICE_COPIES * largest + LIBRARIES,
        plans=sum(weights.values()),
        minutes=(SECONDS_PER_NODE[0] * nodes / 60, SECONDS_PER_NODE[1] * nodes / 60),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Bytes that are free now; None where the system does not say."""

    device: int
    host: int | None
    disk: int


def room_here(cudart: ModuleType, folder: Path) -> Room:
    """What this machine has left for a build into `folder`."""
    return Room(device=free_memory(cudart), host=_free_host(), disk=shutil.disk_usage(folder).free)


def shortages(guess: Estimate, room: Room) -> Iterator[str]:
    """Yield where the guess is more than there is: a build that fails half way is the worst one."""
    for what, wanted, there in (
        ("on the GPU", guess.device, room.device),
        ("of memory", guess.host, room.host),
        ("on the disk", guess.plans, room.disk),
    ):
        if there is not None and wanted > there:
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
