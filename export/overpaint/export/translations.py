"""Torch's operators that torch.onnx would write in a form that engines run slowly or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import onnx_ir as ir
import torch
from onnxscript.onnx_opset import opset23 as op

LARGEST_HEAD: Final = 256
"""What fused kernels of attention are made for: FlashAttention-2 (Dao, 2023) and its successors."""

_HEADS_AND_TOKENS: Final = (0, 2, 1, 3)
"""The permutation that swaps the two, in either direction."""


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


def attention(
    query: ir.Value,
    key: ir.Value,
    value: ir.Value,
    attn_mask: ir.Value | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """Scaled dot product attention (Vaswani et al., 2017), as many heads for keys as for queries.

    `query`, `key`, `value`: (batch, heads, tokens, size).

    ONNX's Attention takes heads on an axis of their own, as torch does, or side by side, as
    (batch, tokens, heads * size), which is how linear layers leave them and fused kernels read
    them. So written, the transposes that torch has around it cancel out.

    A head as large as a VAE's is written as products and a softmax: ONNX Runtime would give it to a
    CUDA kernel that wants more shared memory than most GPUs have.
    """
    _, heads, _, size = query.shape
    if size > LARGEST_HEAD and attn_mask is None and not is_causal:
        return _products(query, key, value, size**-0.5 if scale is None else scale)
    attended, *_ = op.Attention(
        *(_side_by_side(heads_apart) for heads_apart in (query, key, value)),
        attn_mask,
        is_causal=is_causal,
        kv_num_heads=heads,
        q_num_heads=heads,
        scale=scale,
    )
    apart = op.Reshape(attended, op.Constant(value_ints=[0, 0, heads, size]))
    return op.Transpose(apart, perm=_HEADS_AND_TOKENS)


def _side_by_side(heads_apart: ir.Value) -> Any:
    _, heads, _, size = heads_apart.shape
    by_token = op.Transpose(heads_apart, perm=_HEADS_AND_TOKENS)
    return op.Reshape(by_token, op.Constant(value_ints=[0, 0, heads * size]))


def _products(query: ir.Value, key: ir.Value, value: ir.Value, scale: float) -> Any:
    """Both factors are scaled before they meet, or half precision would overflow."""
    root = op.Constant(value=ir.tensor([scale**0.5], dtype=query.dtype))
    keys = op.Transpose(op.Mul(key, root), perm=[0, 1, 3, 2])
    weights = op.Softmax(op.MatMul(op.Mul(query, root), keys), axis=-1)
    return op.MatMul(weights, value)


def argmax(x: ir.Value, dim: int | None = None, keepdim: bool = False) -> Any:
    """Where the largest value is, of an axis; the first such place.

    Whole numbers are compared as float32, which has those of a vocabulary exactly: ONNX Runtime's
    CUDA provider has no kernel for integers, and would leave the whole network without CUDA graphs.
    """
    if dim is None:
        x, dim, keepdim = op.Reshape(x, op.Constant(value_ints=[-1])), 0, False
    return op.ArgMax(op.Cast(x, to=ir.DataType.FLOAT), axis=dim, keepdims=keepdim)


def einsum(equation: str, tensors: Sequence[ir.Value], path: Sequence[int] | None = None) -> Any:
    """Sums of products over letters (Einstein, 1916); of one tensor with no sum, its transpose.

    Stable Diffusion 3 puts its patches together so. ONNX Runtime's Einsum takes memory of its own
    in every run, which ends the capture of a CUDA graph.
    """
    before, _, after = equation.replace(" ", "").partition("->")
    if len(tensors) == 1 and sorted(before) == sorted(after) and len(set(before)) == len(before):
        return op.Transpose(tensors[0], perm=[before.index(letter) for letter in after])
    return op.Einsum(*tensors, equation=equation)


TRANSLATIONS: Final[dict[Callable[..., Any], Callable[..., Any]]] = {
    torch.ops.aten.argmax.default: argmax,
    torch.ops.aten.einsum.default: einsum,
    torch.ops.aten.group_norm.default: group_norm,
    torch.ops.aten.scaled_dot_product_attention.default: attention,
}
