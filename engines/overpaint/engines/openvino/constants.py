"""Stored numbers in an OpenVINO model, behind the casts and transposes that our graphs have."""

from __future__ import annotations

from types import SimpleNamespace
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
        numbers: npt.NDArray[np.float32] = node.get_data(dtype=np.float32)  # bfloat16 too
        return numbers
    inner = stored(node.input_value(0))
    if kind == "Transpose":
        return inner.transpose(node.input_value(1).get_node().data)
    return inner.reshape(list(node.get_output_shape(0)))


def halves_of_columns(output: Any, openvino: Any) -> tuple[Any, Any] | None:
    """The left and the right columns of a stored matrix, each transposed, and not copied; None
    where its columns do not lie together, or are of a type that NumPy does not have."""
    node, cast = output.get_node(), False
    if node.get_type_name() != "Transpose":
        return None
    node = node.input_value(0).get_node()
    if node.get_type_name() == "Convert":
        node, cast = node.input_value(0).get_node(), True
    if node.get_type_name() != "Constant" or node.get_output_element_type(0) == openvino.Type.bf16:
        return None

    def part(rows: Any) -> Any:
        constant = openvino.op.Constant(_writeable(rows), shared_memory=True)
        return openvino.opset13.convert(constant, "f32") if cast else constant

    left, right = np.split(node.data, 2)
    return part(left), part(right)


def _writeable(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same memory, kept alive: OpenVINO shares only what is writeable, and writes to none."""
    told = array.__array_interface__ | {"data": (array.ctypes.data, False)}
    return np.asarray(SimpleNamespace(__array_interface__=told, memory=array))
