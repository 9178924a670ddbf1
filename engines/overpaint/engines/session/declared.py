"""The tensors that a loaded graph declares, held against those of the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from overpaint.bundle.arrays import NUMPY_DTYPES
from overpaint.bundle.errors import SessionError
from overpaint.bundle.format.manifest import Component
from overpaint.bundle.tensor import Tensor, written_shape

_DTYPES: Final = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(bfloat16)": "bfloat16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(bool)": "bool",
}
_MEND: Final = "They do not belong together: make the bundle anew with overpaint export or import"


class Declared(Protocol):
    """An input or output as a library describes it. A size may be a name, or None: any."""

    @property
    def name(self) -> str: ...

    @property
    def type(self) -> str: ...

    @property
    def shape(self) -> Sequence[int | str | None]: ...


def check_graph(
    name: str, component: Component, inputs: Sequence[Declared], outputs: Sequence[Declared]
) -> None:
    """Raise SessionError where a graph's tensors are not those that the manifest declares."""
    _check(name, "input", component.inputs, inputs)
    _check(name, "output", component.outputs, outputs)


def _check(name: str, kind: str, declared: tuple[Tensor, ...], found: Sequence[Declared]) -> None:
    graph = {tensor.name: tensor for tensor in found}
    if graph.keys() != {tensor.name for tensor in declared}:
        raise SessionError(
            f"{name}: the manifest and the graph differ in their {kind}s: "
            f"{', '.join(tensor.name for tensor in declared)} and {', '.join(graph)}. {_MEND}"
        )
    for tensor in declared:
        there = graph[tensor.name]
        dtype, shape = _DTYPES.get(there.type, there.type), tuple(there.shape)
        if dtype != tensor.dtype or not _agree(tensor.shape, shape):
            raise SessionError(
                f"{name}: the manifest and the graph differ in the {kind} {tensor.name!r}: "
                f"{tensor.dtype} {written_shape(tensor.shape)} and "
                f"{dtype} {written_shape(tuple(map(str, shape)))}. {_MEND}"
            )
        if tensor.dtype not in NUMPY_DTYPES:
            raise SessionError(
                f"{name}: the {kind} {tensor.name!r} is {tensor.dtype}, which NumPy does not have"
            )


def _agree(declared: tuple[int | str, ...], found: tuple[int | str | None, ...]) -> bool:
    """Ranks agree, and sizes that both fix; either may leave open what the other fixes."""
    if len(declared) != len(found):
        return False
    pairs = zip(declared, found, strict=True)
    return all(a == b for a, b in pairs if isinstance(a, int) and isinstance(b, int))
