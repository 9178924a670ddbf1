"""Why no graph of ours computes in bfloat16: the CPU provider opens next to none that does."""

from __future__ import annotations

from typing import Any

import onnxruntime as ort
from onnx import TensorProto, helper

PICTURE, CHANNELS, ROWS = [1, 4, 8, 8], [4], [2, 8]
# What our graphs consist of: the shapes of the inputs, and the attributes.
KINDS: dict[str, tuple[list[list[int]], dict[str, Any]]] = {
    "Add": ([ROWS, ROWS], {}),
    "Attention": ([[1, 2, 8, 4]] * 3, {}),
    "Cast": ([ROWS], {"to": TensorProto.FLOAT}),
    "Concat": ([ROWS, ROWS], {"axis": 0}),
    "Conv": ([PICTURE, [4, 4, 3, 3]], {"pads": [1, 1, 1, 1]}),
    "Div": ([ROWS, ROWS], {}),
    "Erf": ([ROWS], {}),
    "Exp": ([ROWS], {}),
    "Gelu": ([ROWS], {}),
    "Gemm": ([ROWS, [8, 8]], {}),
    "InstanceNormalization": ([PICTURE, CHANNELS, CHANNELS], {}),
    "LayerNormalization": ([ROWS, [8]], {}),
    "MatMul": ([ROWS, [8, 8]], {}),
    "Mul": ([ROWS, ROWS], {}),
    "ReduceMean": ([ROWS], {}),
    "Relu": ([ROWS], {}),
    "Sigmoid": ([ROWS], {}),
    "Softmax": ([ROWS], {}),
    "Sqrt": ([ROWS], {}),
    "Transpose": ([ROWS], {"perm": [1, 0]}),
}


def opens(kind: str, dtype: int) -> bool:
    shapes, attributes = KINDS[kind]
    inputs = [
        helper.make_tensor_value_info(f"in{i}", dtype, shape) for i, shape in enumerate(shapes)
    ]
    output = helper.make_tensor_value_info("out", attributes.get("to", dtype), None)
    node = helper.make_node(kind, [one.name for one in inputs], ["out"], **attributes)
    graph = helper.make_graph([node], "one", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
    try:
        ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    except ort.capi.onnxruntime_pybind11_state.NotImplemented:
        return False
    return True


def test_float16_opens_in_every_kind_of_node() -> None:
    assert [kind for kind in KINDS if not opens(kind, TensorProto.FLOAT16)] == []


def test_bfloat16_does_not_in_what_every_denoiser_consists_of() -> None:
    """The day this fails, docs/decisions has a page on bfloat16 to look at again."""
    refused = [kind for kind in KINDS if not opens(kind, TensorProto.BFLOAT16)]
    assert {"Conv", "MatMul", "Gemm", "Add", "Mul", "Softmax", "Attention"} <= set(refused)
