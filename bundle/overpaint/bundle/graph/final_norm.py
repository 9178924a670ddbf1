"""The norm at the end of a text encoder, as numbers: for whoever takes an earlier layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt

from overpaint.bundle.errors import BundleError

from .nodes import nodes
from .proto import graph_of
from .weights import Weight, unbind
from .wire import read_fields

LAST: Final = "last_hidden_state"
_DTYPES: Final = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "BF16": "<u2"}


@dataclass(frozen=True, slots=True)
class FinalNorm:
    """A layer norm over the last axis: weight and bias (W,), float32."""

    weight: npt.NDArray[np.float32] = field(repr=False)
    bias: npt.NDArray[np.float32] = field(repr=False)
    epsilon: float

    def __call__(self, hidden: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """`hidden` (…,W), normalized."""
        centred = hidden - hidden.mean(axis=-1, keepdims=True)
        variance = np.square(centred).mean(axis=-1, keepdims=True)
        normed = centred / np.sqrt(variance + np.float32(self.epsilon))
        return np.asarray(normed * self.weight + self.bias, np.float32)


def final_norm(graph: Path) -> FinalNorm:
    """The norm that makes a text encoder's `last_hidden_state`, read from where its weights lie.

    Raises:
        BundleError: the graph has none there.
    """
    template, weights = unbind(graph.read_bytes())
    fields = list(read_fields(graph_of(template)))
    for norm in nodes(fields, "LayerNormalization"):
        if norm.output == LAST and {*norm.inputs[1:3]} <= weights.keys():
            weight, bias = (_read(graph.parent, weights[name]) for name in norm.inputs[1:3])
            return FinalNorm(weight, bias, cast(float, norm.attributes.get("epsilon", 1e-5)))
    raise BundleError(f"{graph}: expected a layer norm with stored weights to make {LAST}")


def _read(folder: Path, weight: Weight) -> npt.NDArray[np.float32]:
    if weight.dtype not in _DTYPES:
        raise BundleError(f"{folder}: expected a norm stored in floats, got {weight.dtype}")
    pieces = []
    for piece in weight.pieces:
        with (folder / piece.location).open("rb") as file:
            file.seek(piece.offset)
            pieces.append(np.frombuffer(file.read(piece.length), _DTYPES[weight.dtype]))
    values: npt.NDArray[Any] = np.concatenate(pieces)
    if weight.dtype == "BF16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32)
