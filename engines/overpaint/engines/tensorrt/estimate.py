"""What a build will take, said before it begins: guesses from the graphs' bytes, and said to be."""

from __future__ import annotations

import mmap
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Final

from ..bundle import Bundle
from ..errors import IntegrityError
from ..wire import LENGTH, VARINT, MalformedError, fields, varint
from .gpu import free_memory
from .shapes import Profile

BYTES: Final = {"float32": 4, "float16": 2, "bfloat16": 2}
FLOATS: Final = {1: "float32", 10: "float16", 16: "bfloat16"}  # TensorProto.data_type
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


@dataclass(frozen=True, slots=True)
class Counted:
    """How many nodes a graph has, how many numbers its initializers hold, and the floating types
    that it stores them in."""

    nodes: int
    weights: int
    stored: frozenset[str]


def count(graph: Path) -> Counted:
    """Count without the onnx package: ModelProto.graph is 7; GraphProto.node 1, initializer 5.

    Raises:
        IntegrityError: it is not an ONNX graph.
    """
    nodes = weights = 0
    stored: set[str] = set()
    try:
        with graph.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for number, wire, start, end in fields(data, 0, len(data)):
                if number != 7 or wire != LENGTH:
                    continue
                for inner, kind, a, b in fields(data, start, end):
                    nodes += inner == 1 and kind == LENGTH
                    if inner == 5 and kind == LENGTH:
                        size, dtype = _tensor(data, a, b)
                        weights += size
                        stored |= {dtype} if dtype and size > 1 else set()
    except MalformedError as error:
        raise IntegrityError(f"{graph}: expected an ONNX graph, but {error}") from None
    return Counted(nodes, weights, frozenset(stored))


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


def _tensor(data: mmap.mmap, start: int, end: int) -> tuple[int, str | None]:
    """How many numbers the TensorProto in data[start:end] holds, and of which floating type.

    Its sizes are field 1, its data type is field 2.
    """
    sizes, dtype = [], None
    for number, wire, a, b in fields(data, start, end):
        if number == 2 and wire == VARINT:
            dtype = FLOATS.get(a)
        elif number == 1 and wire == VARINT:
            sizes.append(a)
        elif number == 1 and wire == LENGTH:  # packed
            while a < b:
                size, a = varint(data, a, b)
                sizes.append(size)
    return prod(sizes), dtype
