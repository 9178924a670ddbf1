"""Torch's operators that torch.onnx would write in a form which engines run slowly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import onnx_ir as ir
import torch
from onnxscript.onnx_opset import opset23 as op


def group_norm(
    x: ir.Value,
    num_groups: int,
    weight: ir.Value | None = None,
    bias: ir.Value | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Any:
    """Group normalization (Wu and He, 2018) as instance normalization of each group as a channel.

    `x`: (batch, channels, side, ...); `weight`, `bias`: (channels,).

    ONNX has GroupNormalization, for which ONNX Runtime has no kernel: it takes each apart into some
    twenty operators, most of them passes over the whole tensor. InstanceNormalization is one kernel
    in every engine, since the first opset.
    """
    kind = x.dtype or ir.DataType.FLOAT
    scale, shift = (_vector([value] * num_groups, kind) for value in (1.0, 0.0))
    groups = op.Reshape(x, op.Constant(value_ints=[0, num_groups, -1]))
    normal = op.InstanceNormalization(groups, scale, shift, epsilon=eps)
    picture = op.Reshape(normal, op.Shape(x))
    over_sides = op.Constant(value_ints=list(range(1, len(x.shape) - 1)))
    if weight is not None:
        picture = op.Mul(picture, op.Unsqueeze(weight, over_sides))
    if bias is not None:
        picture = op.Add(picture, op.Unsqueeze(bias, over_sides))
    return picture


def _vector(values: list[float], kind: ir.DataType) -> Any:
    return op.Constant(value=ir.tensor(values, dtype=kind))


TRANSLATIONS: Final[dict[Callable[..., Any], Callable[..., Any]]] = {
    torch.ops.aten.group_norm.default: group_norm
}
