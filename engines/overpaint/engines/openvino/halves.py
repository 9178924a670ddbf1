"""Half-precision weights that stay where their file is mapped, in whatever the graph computes.

OpenVINO folds a cast of a stored tensor into a copy, twice the size, unless the cast is marked as
decompression: then it packs the weights for its kernels straight from the file. A graph that
computes in float16 has no casts to mark (OpenVINO widens all of it, weights included, for no
processor here computes in float16 throughout): it is made the one that computes in float32.
"""

from __future__ import annotations

from typing import Any, Final

_HALVES: Final = ("f16", "bf16")
_MARK: Final = "decompression_0"  # what OpenVINO's own compressed models carry


def widen(model: Any, opset: Any) -> None:
    """Have `model` compute in float32 wherever it computes in half precision."""
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        if kind == "Convert" and node.get_attributes()["destination_type"] in _HALVES:
            node.set_attribute("destination_type", "f32")
        elif kind in ("Constant", "Parameter") and _is_half(node.output(0)):
            readers = [
                reader
                for reader in node.output(0).get_target_inputs()
                if reader.get_node().get_type_name() != "Convert"
            ]
            if readers:
                wide = opset.convert(node, "f32").output(0)
                for reader in readers:
                    reader.replace_source_output(wide)
    model.validate_nodes_and_infer_types()


def leave_mapped(model: Any) -> None:
    """Mark what widens stored tensors, so that no wide copy is made of them."""
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Convert":
            source = node.input_value(0)
            if source.get_node().get_type_name() == "Constant" and _is_half(source):
                node.get_rt_info()[_MARK] = ""


def _is_half(output: Any) -> bool:
    return output.get_element_type().get_type_name() in _HALVES
