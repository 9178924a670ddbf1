"""The same graph with less to compute: rewrites made on OpenVINO's model when it is opened.

Each gives the same numbers up to rounding, and leaves alone what does not look as our exporter
writes it. docs/decisions/0013 has what they win.
"""

from __future__ import annotations

from typing import Any

from .constants import halves_of_columns, is_stored, stored
from .doubling import convolve_before_doubling, enlargement
from .halves import leave_mapped, widen
from .norms import group_norm, normalize_in_place


def simplify(model: Any, openvino: Any, *, any_size: bool = False) -> int:
    """Rewrite `model`, an `openvino.Model`, in place; `openvino` is the package.

    A UNet enlarges to the size of what it joins: double, or one less where that side was odd.
    Unless the model is to be right for `any_size`, double is taken for granted.

    Returns the number of which the sides of its latents must be multiples.
    """
    opset = openvino.opset13
    widen(model, opset)
    taken_for_granted = 0
    for node in model.get_ordered_ops():
        if (to := enlargement(node)) == "double" or (to == "a size" and not any_size):
            convolve_before_doubling(node, opset)
            taken_for_granted += to == "a size"
        elif _halves_a_product(node):
            _multiply_twice(node, openvino)
        elif (norm := group_norm(node)) is not None:
            normalize_in_place(norm, opset)
    leave_mapped(model)
    model.validate_nodes_and_infer_types()
    return 1 << taken_for_granted


def _halves_a_product(node: Any) -> bool:
    """Whether `node` splits a linear layer's output in two, as a gated unit does (GEGLU)."""
    if node.get_type_name() != "Split" or node.get_output_size() != 2:
        return False
    total = node.input_value(0).get_node()
    if total.get_type_name() != "Add" or not is_stored(total.input_value(1)):
        return False
    product = total.input_value(0).get_node()
    if product.get_type_name() != "MatMul" or not is_stored(product.input_value(1)):
        return False
    as_stored = product.get_attributes()
    if as_stored["transpose_a"] or as_stored["transpose_b"]:
        return False
    rank = node.input_value(0).get_partial_shape().rank
    return bool(rank.is_static and stored(node.input_value(1)) == rank.get_length() - 1)


def _multiply_twice(split: Any, openvino: Any) -> None:
    """Two products instead of one whose halves are copied apart: the gate's then takes its
    activation along."""
    opset = openvino.opset13
    total = split.input_value(0).get_node()
    product, bias = total.input_value(0).get_node(), total.input_value(1)
    rows, weight = product.input_value(0), product.input_value(1)
    in_place = halves_of_columns(weight, openvino)
    weights = in_place or opset.split(weight, opset.constant(1), 2).outputs()
    offsets = opset.split(bias, opset.constant(0), 2).outputs()
    for output, part, offset in zip(split.outputs(), weights, offsets, strict=True):
        half = opset.matmul(rows, part, False, in_place is not None)
        output.replace(opset.add(half, offset).output(0))
