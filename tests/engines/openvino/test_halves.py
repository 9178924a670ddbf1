"""Stored halves are read as what they are, and stay where they are stored."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import openvino
import pytest
from openvino import opset13 as op

from overpaint.engines.openvino.constants import stored
from overpaint.engines.openvino.rewrites import simplify

VALUES = np.arange(-6, 6, dtype=np.float32).reshape(4, 3) * 1.5
ROWS = np.array([[1, -2, 0.5]], np.float32)


def half(kind: str) -> Any:
    if kind == "f16":
        return op.constant(VALUES.astype(np.float16))
    raw = VALUES.astype(ml_dtypes.bfloat16).view(np.uint16)
    numbers = raw.view(ml_dtypes.bfloat16).astype(np.float32).ravel().tolist()
    return openvino.op.Constant(openvino.Type.bf16, openvino.Shape(VALUES.shape), numbers)


def linear(kind: str, computed_in: str) -> Any:
    """Rows times a stored matrix, as our graphs have it, float32 outside."""
    rows = op.parameter([-1, 3], np.float32)
    weight, inside = half(kind), rows
    if computed_in == "f32":
        weight = op.convert(weight, "f32")
    else:
        inside = op.convert(rows, computed_in)
    product = op.matmul(inside, op.transpose(weight, op.constant([1, 0])), False, False)
    return openvino.Model([op.convert(product, "f32")], [rows])


@pytest.mark.parametrize("kind", ["f16", "bf16"])
def test_stored_halves_are_the_numbers_that_they_mean(kind: str) -> None:
    np.testing.assert_array_equal(stored(op.convert(half(kind), "f32").output(0)), VALUES)


@pytest.mark.parametrize(("kind", "computed_in"), [("f16", "f32"), ("bf16", "f32"), ("f16", "f16")])
def test_no_wide_copy_is_made_of_a_stored_half(kind: str, computed_in: str) -> None:
    model = linear(kind, computed_in)
    simplify(model, openvino)
    widening = [
        node
        for node in model.get_ordered_ops()
        if node.get_type_name() == "Convert"
        and node.input_value(0).get_node().get_type_name() == "Constant"
    ]
    assert [list(node.get_rt_info().keys()) for node in widening] == [["decompression_0"]]
    assert all(node.get_output_element_type(0) == openvino.Type.f32 for node in widening)
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    (got,) = openvino.Core().compile_model(model, "CPU", exact)([ROWS]).values()
    np.testing.assert_allclose(got, ROWS @ VALUES.T, rtol=1e-6)
