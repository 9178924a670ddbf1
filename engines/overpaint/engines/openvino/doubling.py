"""A convolution of a picture doubled by repetition, made on the small picture instead.

A UNet and a VAE's decoder enlarge by repeating every cell in both directions and convolve the
result. In a doubled picture every two rows are one, so of three neighbouring rows two are the same:
their taps can be added up beforehand. Each of the four cells that one cell becomes then sees 2x2
cells of the small picture instead of 3x3 of the large one, which is 4/9 of the arithmetic.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import numpy as np

from .constants import is_stored, stored

Enlargement: TypeAlias = Literal["double", "a size"]

# Which taps of three fall together, seen from an even row (or column), and from an odd one.
_TOGETHER: Final = tuple(
    np.array(taps, np.float32) for taps in ([[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]])
)


def enlargement(node: Any) -> Enlargement | None:
    """How the picture that `node` convolves was enlarged by repetition; None: it was not, or `node`
    is not a 3x3 convolution padded by one."""
    if node.get_type_name() != "Convolution" or not is_stored(node.input_value(1)):
        return None
    of = node.get_attributes()
    plain = list(of["strides"]) == list(of["dilations"]) == [1, 1]
    padded = list(of["pads_begin"]) == list(of["pads_end"]) == [1, 1]
    large = node.input_value(0).get_node()
    if list(node.input_value(1).get_shape())[2:] != [3, 3] or not plain or not padded:
        return None
    if large.get_type_name() != "Interpolate" or large.get_input_size() != 2:
        return None
    how = large.get_attributes()
    repeats = (how["mode"], how["coordinate_transformation_mode"], how["nearest_mode"])
    if repeats != ("nearest", "asymmetric", "floor"):
        return None
    if how["shape_calculation_mode"] == "sizes":
        return "a size"
    by = large.input_value(1)
    return "double" if is_stored(by) and stored(by).tolist() == [1, 1, 2, 2] else None


def convolve_before_doubling(convolution: Any, opset: Any) -> None:
    """Replace a convolution of a picture that is enlarged to twice its size: by four, one for each
    cell that a cell becomes, and their results interleaved."""
    picture = convolution.input_value(0).get_node().input_value(0)
    kernel = stored(convolution.input_value(1))
    taps = kernel.reshape(-1, 9).T
    cells = []
    for row in (0, 1):
        for column in (0, 1):
            sums = np.kron(_TOGETHER[row], _TOGETHER[column])  # of nine taps: four
            few = np.ascontiguousarray((sums @ taps).T)  # a tall product is several times slower
            before, after = [1 - row, 1 - column], [row, column]
            taken = opset.constant(few.reshape(*kernel.shape[:2], 2, 2))
            cells.append(opset.convolution(picture, taken, [1, 1], before, after, [1, 1]))
    doubled = opset.depth_to_space(opset.concat(cells, 1), "blocks_first", 2)
    convolution.output(0).replace(doubled.output(0))
