"""A graph in operators for which ONNX Runtime's CUDA provider has kernels.

A kernel is for versions of an operator, not for the operator. Where opset 23 has a newer version
than the kernel was registered for, if only to admit another dtype, the processor runs the node, and
its tensors are carried there and back. Of our graphs' operators that is InstanceNormalization: its
kernel ends with opset 21. Attention began with opset 23.

So a graph that has it is opened as one of opset 21, with ONNX Runtime's own MultiHeadAttention in
Attention's place: the same tensors, the same sums. In the bundle it stays as it is.
docs/decisions/0014 tells how this was found.
"""

from __future__ import annotations

from typing import Any, Final

from overpaint.bundle.graph import proto as onnx
from overpaint.bundle.graph.nodes import Node, Value, node, nodes
from overpaint.bundle.graph.proto import graph_of, opset, with_graph
from overpaint.bundle.graph.wire import message, read_fields, string, varint

OPSET: Final = 21
"""The last in which InstanceNormalization is the version that has a kernel."""

NEWEST_READ: Final = 23
"""Of the operators of later opsets it is not known whether they mean what they meant in 21."""

_NORM: Final = b"InstanceNormalization"
_BEGAN_LATER: Final = (b"RMSNormalization", b"RotaryEmbedding")
_OWN: Final = "com.microsoft"
_DEFAULTS: Final[dict[str, Value]] = {
    "is_causal": 0,
    "qk_matmul_output_mode": 0,
    "softcap": 0.0,
    "softmax_precision": 0,
}
"""Attention's attributes that MultiHeadAttention does not have, with the values they have unset."""


def with_kernels(model: bytes) -> bytes | None:
    """The model with a CUDA kernel for each operator; None where it is to be opened as it is.

    Raises:
        MalformedError: `model` is not an ONNX model.
    """
    if _NORM not in model or any(name in model for name in _BEGAN_LATER):
        return None
    if not OPSET < opset(model) <= NEWEST_READ:
        return None
    graph = list(read_fields(graph_of(model)))
    attention = {one.at: one for one in nodes(graph, "Attention")}
    if not all(_is_plain(one) for one in attention.values()):
        return None
    own = (_own(attention[at]) if at in attention else one.raw for at, one in enumerate(graph))
    fields = read_fields(with_graph(model, own))
    kept = (field.raw for field in fields if field.number != onnx.MODEL_OPSET)
    return b"".join([*kept, _version("", OPSET), _version(_OWN, 1)])


def _version(domain: str, version: int) -> bytes:
    return message(
        onnx.MODEL_OPSET, string(onnx.OPSET_DOMAIN, domain), varint(onnx.OPSET_VERSION, version)
    )


def _is_plain(attention: Node) -> bool:
    """Whether MultiHeadAttention can do it: heads side by side, as many for keys as for queries, no
    mask, no cache, and nothing unusual among the attributes."""
    attributes = dict(attention.attributes)
    heads, of_keys = attributes.pop("q_num_heads", None), attributes.pop("kv_num_heads", None)
    attributes.pop("scale", None)
    outputs = sum(part.number == onnx.NODE_OUTPUT for part in attention.fields)
    return (
        bool(heads)
        and heads == of_keys
        and all(_DEFAULTS.get(name) == value for name, value in attributes.items())
        and not any(attention.inputs[3:])
        and outputs == 1
    )


def _own(attention: Node) -> bytes:
    attributes: dict[str, Any] = {"num_heads": attention.attributes["q_num_heads"]}
    if "scale" in attention.attributes:
        attributes["scale"] = attention.attributes["scale"]
    inputs = attention.inputs[:3]
    return node("MultiHeadAttention", inputs, attention.output, domain=_OWN, **attributes)
