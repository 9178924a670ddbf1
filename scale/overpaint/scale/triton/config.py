"""A model's `config.pbtxt`: Triton's ModelConfig (model_config.proto) in protobuf's text format."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from overpaint.bundle.errors import UsageError
from overpaint.bundle.format.manifest import Component
from overpaint.bundle.tensor import Tensor

from .graph import taken

_TYPES: Final = {
    "float32": "TYPE_FP32",
    "float16": "TYPE_FP16",
    "int64": "TYPE_INT64",
    "int32": "TYPE_INT32",
    "bool": "TYPE_BOOL",
}


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output; -1 in `dims` is any size."""

    name: str
    data_type: str
    dims: tuple[int, ...]
    optional: bool = False


IMAGE, PROMPT, OPTIONS = "IMAGE", "PROMPT", "OPTIONS"
IMAGES, PARAMETERS = "IMAGES", "PARAMETERS"
LOOP_INPUTS: Final = (
    Port(IMAGE, "TYPE_UINT8", (-1, -1, 3), optional=True),
    Port(PROMPT, "TYPE_STRING", (1,)),
    Port(OPTIONS, "TYPE_STRING", (1,), optional=True),
)
"""Pixels (H,W,3), without which it is text to image; the prompt; options of a run as JSON."""
LOOP_OUTPUTS: Final = (
    Port(IMAGES, "TYPE_UINT8", (-1, -1, -1, 3)),
    Port(PARAMETERS, "TYPE_STRING", (-1,)),
)
"""Pixels (N,H,W,3), and of each image as JSON what its PNG would say."""


def engine_config(name: str, component: Component, backend: str) -> str:
    """A component's. Raises UsageError for a tensor of a type that Triton does not take."""
    inputs = [taken(tensor) for tensor in component.inputs]
    return model_config(name, backend, _ports(inputs), _ports(component.outputs))


def model_config(name: str, backend: str, inputs: Sequence[Port], outputs: Sequence[Port]) -> str:
    """Whole tensors go in and come out (max_batch_size 0): the batch is a size like others."""
    lines = [
        f"name: {_quoted(name)}",
        f"backend: {_quoted(backend)}",
        "max_batch_size: 0",
        *(line for port in inputs for line in _port("input", port)),
        *(line for port in outputs for line in _port("output", port)),
    ]
    return "\n".join(lines) + "\n"


def _ports(tensors: Sequence[Tensor]) -> list[Port]:
    for tensor in tensors:
        if tensor.dtype not in _TYPES:
            raise UsageError(f"{tensor}: Triton takes no such tensor; export the bundle in float16")
    return [
        Port(
            tensor.name,
            _TYPES[tensor.dtype],
            tuple(size if isinstance(size, int) else -1 for size in tensor.shape),
        )
        for tensor in tensors
    ]


def _port(kind: str, port: Port) -> list[str]:
    return [
        f"{kind} {{",
        f"  name: {_quoted(port.name)}",
        f"  data_type: {port.data_type}",
        f"  dims: [{', '.join(map(str, port.dims))}]",
        *(["  optional: true"] if port.optional else []),
        "}",
    ]


def _quoted(text: str) -> str:
    return json.dumps(text)
