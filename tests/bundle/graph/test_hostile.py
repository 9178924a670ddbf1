"""Bytes that nobody's exporter wrote are read or refused, by everything that reads a graph."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from overpaint.bundle.errors import BundleError, IntegrityError
from overpaint.bundle.graph.count import Counted, count
from overpaint.bundle.graph.signature import graph_tensors
from overpaint.bundle.graph.weights import Piece, Weight, bind, unbind
from overpaint.bundle.graph.wire import MalformedError, message, read_fields, string, varint


def template() -> bytes:
    """y = x @ a, with a (6, 4) that lies nowhere, and a constant inside the graph."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "a"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor("one", TensorProto.FLOAT16, [1, 2], [1.0, 2.0])],
    )
    weight = graph.initializer.add(name="a", data_type=TensorProto.FLOAT, dims=(6, 4))
    weight.data_location = TensorProto.EXTERNAL
    return bytes(helper.make_model(graph).SerializeToString())


PIECES = (Piece("w.safetensors", 0, 24), Piece("w.safetensors", 96, 24))
MODEL = bind(template(), {"a": Weight("F16", PIECES)})

Reader = Callable[[Path], object]


@pytest.mark.parametrize("reader", [count, graph_tensors], ids=["count", "signature"])
@settings(max_examples=200, deadline=None)
@given(splice=st.binary(max_size=24), at=st.integers(0, len(MODEL)), drop=st.integers(0, 24))
def test_any_bytes_spliced_into_a_file_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, reader: Reader, splice: bytes, at: int, drop: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "spliced.onnx"
    path.write_bytes(MODEL[:at] + splice + MODEL[at + drop :])
    with contextlib.suppress(IntegrityError):
        reader(path)


@settings(max_examples=200, deadline=None)
@given(splice=st.binary(max_size=24), at=st.integers(0, len(MODEL)), drop=st.integers(0, 24))
def test_a_message_is_its_fields_or_malformed(splice: bytes, at: int, drop: int) -> None:
    model = MODEL[:at] + splice + MODEL[at + drop :]
    with contextlib.suppress(MalformedError):
        assert b"".join(field.raw for field in read_fields(model)) == model


@pytest.mark.parametrize("reader", [count, graph_tensors], ids=["count", "signature"])
def test_an_empty_file_is_refused(tmp_path: Path, reader: Reader) -> None:
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(IntegrityError, match="expected an ONNX graph, but it is empty"):
        reader(tmp_path / "empty.onnx")


def test_nodes_and_numbers_are_counted(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(MODEL)
    assert count(tmp_path / "model.onnx") == Counted(3, 26, frozenset({"float16"}))
    assert len(onnx.load_model_from_string(MODEL).graph.node) == 3


def test_a_field_of_another_wire_type_is_not_the_one_that_onnx_means() -> None:
    """A number where a message should be holds no fields, and text is no number."""
    [number] = read_fields(varint(7, 5))
    assert list(read_fields(number)) == []
    [text] = read_fields(string(1, "\x05\x06"))
    assert (text.value, text.numbers) == (0, [5, 6])  # packed


def test_a_weight_of_an_unknown_dtype_is_refused_when_it_is_unbound() -> None:
    model = onnx.load_model_from_string(MODEL)
    for tensor in model.graph.initializer:
        tensor.data_type = TensorProto.STRING
    with pytest.raises(BundleError, match="no weight's"):
        unbind(model.SerializeToString())


def test_text_that_is_not_utf_8_is_malformed() -> None:
    [field] = read_fields(message(1, b"\xff"))
    with pytest.raises(MalformedError, match="text at byte 2 is not UTF-8"):
        _ = field.text
