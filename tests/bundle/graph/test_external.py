"""Every weight that a graph takes from another file is found, wherever in the graph it stands."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from tests.bundle.micro import external, make_micro

from overpaint.bundle.errors import IntegrityError
from overpaint.bundle.graph.external import ExternalTensor, external_tensors, external_tensors_of
from overpaint.bundle.graph.wire import MalformedError

ARRAY = np.zeros((2, 3), np.float32)


def pointing(name: str) -> TensorProto:
    return external(name, ARRAY, f"{name}.safetensors", 100)


def everywhere() -> onnx.ModelProto:
    """A model with such a tensor in each place that onnx.proto allows."""
    inner = helper.make_graph([], "inner", [], [], [pointing("subgraph")])
    listed = helper.make_graph([], "listed", [], [], [pointing("subgraphs")])
    sparse = onnx.SparseTensorProto(values=pointing("values"), indices=pointing("indices"))
    attributes = [
        onnx.AttributeProto(name="value", type=onnx.AttributeProto.TENSOR, t=pointing("constant")),
        onnx.AttributeProto(name="many", tensors=[pointing("tensors")]),
        onnx.AttributeProto(name="then_branch", type=onnx.AttributeProto.GRAPH, g=inner),
        onnx.AttributeProto(name="bodies", graphs=[listed]),
        onnx.AttributeProto(name="sparse", sparse_tensor=sparse),
        onnx.AttributeProto(name="sparses", sparse_tensors=[sparse]),
    ]
    node = onnx.NodeProto(op_type="X", attribute=attributes)
    graph = helper.make_graph([node], "g", [], [], [pointing("initializer")])
    graph.sparse_initializer.append(sparse)
    model = helper.make_model(graph)
    constant = onnx.AttributeProto(name="value", t=pointing("function"))
    default = onnx.AttributeProto(name="value", t=pointing("default"))
    body = onnx.NodeProto(op_type="Constant", attribute=[constant])
    model.functions.append(onnx.FunctionProto(name="f", node=[body], attribute_proto=[default]))
    model.training_info.append(
        onnx.TrainingInfoProto(
            initialization=helper.make_graph([], "i", [], [], [pointing("initialization")]),
            algorithm=helper.make_graph([], "a", [], [], [pointing("algorithm")]),
        )
    )
    return model


def test_weights_are_found_in_every_place_that_onnx_allows() -> None:
    found = list(external_tensors(everywhere().SerializeToString()))
    names = {
        *("initializer", "subgraph", "subgraphs", "constant", "tensors", "values", "indices"),
        *("function", "default", "initialization", "algorithm"),
    }
    assert {tensor.name for tensor in found} == names
    assert set(found) == {ExternalTensor(name, f"{name}.safetensors", 100, 24) for name in names}


def test_a_tensor_with_its_own_bytes_is_none_of_them() -> None:
    """The word alone does not make one: a graph may have a tensor called location."""
    tensor = onnx.numpy_helper.from_array(ARRAY, "location")
    model = helper.make_model(helper.make_graph([], "location", [], [], [tensor]))
    assert list(external_tensors(model.SerializeToString())) == []


def test_the_length_may_be_absent() -> None:
    tensor = pointing("w")
    del tensor.external_data[1:]
    model = helper.make_model(helper.make_graph([], "g", [], [], [tensor]))
    found = list(external_tensors(model.SerializeToString()))
    assert found == [ExternalTensor("w", "w.safetensors", 0, None)]


def test_a_location_given_twice_is_malformed() -> None:
    tensor = pointing("w")
    tensor.external_data.append(onnx.StringStringEntryProto(key="location", value="/etc/passwd"))
    model = helper.make_model(helper.make_graph([], "g", [], [], [tensor]))
    with pytest.raises(MalformedError, match="'location' twice"):
        list(external_tensors(model.SerializeToString()))


def test_what_the_onnx_package_reads_is_what_is_found(tmp_path: Path) -> None:
    bundle = make_micro(tmp_path / "micro")
    for path in bundle.glob("*/model.onnx"):
        model = onnx.load(path, load_external_data=False)
        expected = set()
        for tensor in model.graph.initializer:
            entry = {pair.key: pair.value for pair in tensor.external_data}
            place = entry["location"], int(entry["offset"]), int(entry["length"])
            expected.add(ExternalTensor(tensor.name, *place))
        assert set(external_tensors_of(path)) == expected != set()


def test_deep_nesting_ends_without_a_recursion_error() -> None:
    graph = helper.make_graph([], "g", [], [], [pointing("deep")]).SerializeToString()

    def wrapped(field: int, message: bytes) -> bytes:
        size, length = len(message), b""
        while size >= 128:
            length, size = length + bytes([size & 127 | 128]), size >> 7
        return bytes([field << 3 | 2]) + length + bytes([size]) + message

    for _ in range(3000):
        graph = wrapped(1, wrapped(5, wrapped(6, graph)))  # a node's attribute's graph
    assert [one.name for one in external_tensors(wrapped(7, graph))] == ["deep"]


MODEL = everywhere().SerializeToString()


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=24), st.integers(0, len(MODEL)), st.integers(0, 24))
def test_any_bytes_spliced_into_a_graph_are_read_or_malformed(
    splice: bytes, at: int, drop: int
) -> None:
    try:
        found = list(external_tensors(MODEL[:at] + splice + MODEL[at + drop :]))
    except MalformedError:
        return
    assert all(tensor.offset >= 0 for tensor in found)


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=200))
def test_any_file_is_read_or_refused_as_not_a_graph(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.onnx"
    path.write_bytes(data + b"location")
    with contextlib.suppress(IntegrityError):
        external_tensors_of(path)


def test_a_graph_of_the_real_size_is_read_in_milliseconds() -> None:
    """Stable Diffusion 1's UNet: 686 weights, 2,547 nodes."""
    tensors = [external(f"weight.{i}", ARRAY, "unet.safetensors", i) for i in range(686)]
    nodes = [helper.make_node("Add", [f"a{i}", f"b{i}"], [f"a{i + 1}"]) for i in range(2547)]
    data = helper.make_model(helper.make_graph(nodes, "g", [], [], tensors)).SerializeToString()
    best = min(_seconds(data) for _ in range(5))
    print(f"{best * 1e3:.1f} ms")
    assert best < 0.1


def _seconds(data: bytes) -> float:
    start = time.perf_counter()
    assert len(list(external_tensors(data))) == 686
    return time.perf_counter() - start
