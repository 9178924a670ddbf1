"""Stored numbers in an OpenVINO model, behind the casts and transposes that our graphs have."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_BETWEEN = ("Convert", "Transpose", "Unsqueeze")


def is_stored(output: Any) -> bool:
    """Whether `output`, of an OpenVINO node, is a constant, maybe cast, transposed, unsqueezed."""
    node = output.get_node()
    while node.get_type_name() in _BETWEEN:
        node = node.input_value(0).get_node()
    return bool(node.get_type_name() == "Constant")


def stored(output: Any) -> npt.NDArray[np.float32]:
    """The numbers of an output that `is_stored`, in float32."""
    node = output.get_node()
    kind = node.get_type_name()
    if kind == "Constant":
        return np.asarray(node.data, np.float32)
    inner = stored(node.input_value(0))
    if kind == "Transpose":
        return inner.transpose(node.input_value(1).get_node().data)
    return inner.reshape(list(node.get_output_shape(0)))
