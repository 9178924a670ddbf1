"""Group normalization that leaves channels where a convolution puts them.

OpenVINO convolves with channels last, and normalizes a group as a row of a reshaped picture, with
channels first: the picture is laid out anew before each norm and after it. Here the statistics are
means over a channel's cells, averaged over the group's channels by a product with a constant
matrix and given back to them by another, and nothing is reshaped.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .constants import is_stored, stored


class GroupNorm(NamedTuple):
    """A group norm as our graphs have it: InstanceNormalization between two reshapes, then each
    channel's weight and bias. `output` is what follows from."""

    picture: Any
    groups: int
    epsilon: float
    weight: Any
    bias: Any
    output: Any


def group_norm(node: Any) -> GroupNorm | None:
    """The group norm of a picture in whose middle `node` is, if it is in one."""
    if node.get_type_name() != "MVN" or not node.get_attributes()["normalize_variance"]:
        return None
    rows = node.input_value(0).get_node()
    if rows.get_type_name() != "Reshape" or not is_stored(rows.input_value(1)):
        return None
    picture, to = rows.input_value(0), stored(rows.input_value(1)).tolist()
    rank = picture.get_partial_shape().rank
    if rank.is_dynamic or rank.get_length() != 4 or len(to) != 3:
        return None
    kinds, after = ("Multiply", "Add", "Reshape", "Multiply", "Add"), [node]
    for kind in kinds:
        if (reader := _only_reader(after[-1])) is None or reader.get_type_name() != kind:
            return None
        after.append(reader)
    _, scale, shift, _, weighted, biased = after
    ones, zeros, weight, bias = (step.input_value(1) for step in (scale, shift, weighted, biased))
    if not all(map(is_stored, (ones, zeros, weight, bias))):
        return None
    if (stored(ones) != 1).any() or (stored(zeros) != 0).any():
        return None
    epsilon = node.get_attributes()["eps"]
    return GroupNorm(picture, int(to[1]), epsilon, weight, bias, biased.output(0))


def normalize_in_place(norm: GroupNorm, opset: Any) -> None:
    """Replace a group norm by one that reshapes nothing."""
    members = stored(norm.weight).size // norm.groups
    each = np.eye(norm.groups, dtype=np.float32)[:, :, None, None]
    gather = opset.constant(np.repeat(each / np.float32(members), members, axis=1))
    spread = opset.constant(np.repeat(each, members, axis=0))
    over_cells = opset.constant(np.array([2, 3]))

    def by(values: Any, matrix: Any) -> Any:
        return opset.convolution(values, matrix, [1, 1], [0, 0], [0, 0], [1, 1])

    def mean(picture: Any) -> Any:
        return by(opset.reduce_mean(picture, over_cells, True), gather)

    centred = opset.subtract(norm.picture, by(mean(norm.picture), spread))
    variance = mean(opset.multiply(centred, centred))
    deviation = opset.sqrt(opset.add(variance, opset.constant(np.float32(norm.epsilon))))
    normal = opset.multiply(centred, opset.divide(norm.weight, by(deviation, spread)))
    norm.output.replace(opset.add(normal, norm.bias).output(0))


def _only_reader(node: Any) -> Any | None:
    """The node that computes with a node's output, where there is one only; its shape may be asked
    for too."""
    readers = [
        reader.get_node()
        for reader in node.output(0).get_target_inputs()
        if reader.get_node().get_type_name() != "ShapeOf"
    ]
    return readers[0] if len(readers) == 1 else None
