"""onnx.proto's field numbers, and an ONNX model taken apart and put together again by them.

https://github.com/onnx/onnx/blob/main/onnx/onnx.proto. The wire format below it is `wire`'s.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from overpaint.bundle.errors import IntegrityError

from .wire import Field, MalformedError, message, read_fields

MODEL_IR_VERSION, MODEL_GRAPH, MODEL_OPSET, MODEL_TRAINING, MODEL_FUNCTION = 1, 7, 8, 20, 25
OPSET_DOMAIN, OPSET_VERSION = 1, 2
TRAINING_INITIALIZATION, TRAINING_ALGORITHM = 1, 2
FUNCTION_NODE, FUNCTION_ATTRIBUTE = 7, 11
GRAPH_NODE, GRAPH_NAME, GRAPH_INITIALIZER, GRAPH_SPARSE = 1, 2, 5, 15
GRAPH_INPUT, GRAPH_OUTPUT = 11, 12
NODE_INPUT, NODE_OUTPUT, NODE_NAME, NODE_OP, NODE_ATTRIBUTE, NODE_DOMAIN = 1, 2, 3, 4, 5, 7
ATTRIBUTE_NAME, ATTRIBUTE_FLOAT, ATTRIBUTE_INT, ATTRIBUTE_STRING = 1, 2, 3, 4
ATTRIBUTE_TENSOR, ATTRIBUTE_GRAPH, ATTRIBUTE_SPARSE = 5, 6, 22
ATTRIBUTE_INTS, ATTRIBUTE_TENSORS, ATTRIBUTE_GRAPHS, ATTRIBUTE_SPARSES = 8, 10, 11, 23
ATTRIBUTE_TYPE = 20
TYPE_FLOAT, TYPE_INT, TYPE_STRING, TYPE_GRAPH, TYPE_INTS = 1, 2, 3, 5, 7  # of an attribute
SPARSE_VALUES, SPARSE_INDICES = 1, 2
TENSOR_DIMS, TENSOR_DTYPE, TENSOR_FLOATS, TENSOR_NAME, TENSOR_RAW = 1, 2, 4, 8, 9
TENSOR_EXTERNAL, TENSOR_LOCATION = 13, 14
LOCATION_EXTERNAL = 1
ENTRY_KEY, ENTRY_VALUE = 1, 2
VALUE_NAME, VALUE_TYPE = 1, 2
TYPE_TENSOR = 1
TENSOR_TYPE_ELEMENT, TENSOR_TYPE_SHAPE = 1, 2
SHAPE_DIMENSION = 1
DIMENSION_VALUE, DIMENSION_NAME = 1, 2

FLOAT, INT32, INT64, BOOL, FLOAT16, DOUBLE, BFLOAT16 = 1, 6, 7, 9, 10, 11, 16
FLOAT8_E4M3, FLOAT8_E5M2 = 17, 19
FLOATS: Final = {FLOAT: "float32", FLOAT16: "float16", BFLOAT16: "bfloat16"}


def graph_of(model: bytes) -> Field:
    """A model's graph.

    Raises:
        MalformedError: `model` is no protobuf message, or has not exactly one graph.
    """
    graphs = [field for field in read_fields(model) if field.number == MODEL_GRAPH]
    if len(graphs) != 1:
        raise MalformedError(f"a model with {len(graphs)} graphs")
    return graphs[0]


def with_graph(model: bytes, fields: Iterable[bytes]) -> bytes:
    """The model with another graph, given as its encoded fields."""
    return b"".join(
        message(MODEL_GRAPH, *fields) if field.number == MODEL_GRAPH else field.raw
        for field in read_fields(model)
    )


def opset(model: bytes) -> int:
    """The version of ONNX's operators that a model is written in; 0 where it does not say.

    Raises:
        MalformedError: `model` is no protobuf message.
    """
    for field in read_fields(model):
        if field.number == MODEL_OPSET:
            parts = {part.number: part for part in read_fields(field)}
            if OPSET_DOMAIN not in parts or not parts[OPSET_DOMAIN].text:
                return parts[OPSET_VERSION].value
    return 0


@contextmanager
def mapped_model(path: str | os.PathLike[str]) -> Iterator[mmap.mmap]:
    """An ONNX file's bytes, mapped: what is not looked at is not read.

    Raises:
        IntegrityError: it cannot be read, or the block finds it malformed.
    """
    try:
        with open(path, "rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise MalformedError("it is empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                yield data
    except MalformedError as error:
        raise IntegrityError(f"{os.fspath(path)}: expected an ONNX graph, but {error}") from None
    except OSError as error:
        raise IntegrityError(f"{os.fspath(path)}: cannot be read: {error.strerror}") from error
