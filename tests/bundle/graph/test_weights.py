"""Weights by reference: a template bound to any file runs with exactly that file's tensors."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from overpaint.bundle.errors import BundleError
from overpaint.bundle.graph import weights, wire
from overpaint.bundle.graph.weights import Piece, Slot, Weight, bind, slots, unbind

RNG = np.random.default_rng(0)
STORED = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}


def template() -> bytes:
    """y = x @ a + b, with a (6, 4) and b (4,) that lie nowhere, and a constant inside the graph."""
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "a"], ["xa"]),
            helper.make_node("Add", ["xa", "b"], ["sum"]),
            helper.make_node("Mul", ["sum", "one"], ["y"]),
        ],
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 4])],
        [helper.make_tensor("one", TensorProto.FLOAT, [], [1.0])],
    )
    for name, shape in (("a", (6, 4)), ("b", (4,))):
        tensor = graph.initializer.add(name=name, data_type=TensorProto.FLOAT)
        tensor.dims.extend(shape)
        tensor.data_location = TensorProto.EXTERNAL
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)])
    model.ir_version = 10
    return bytes(model.SerializeToString())


def run(folder: Path, model: bytes, x: np.ndarray) -> np.ndarray:
    path = folder / "model.onnx"
    path.write_bytes(model)
    onnx.checker.check_model(str(path), full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def test_a_template_says_what_it_asks_for() -> None:
    assert slots(template()) == {"a": Slot("F32", (6, 4)), "b": Slot("F32", (4,))}


def test_with_its_weights_as_inputs_a_template_runs_without_a_file(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(weights.with_inputs(template()))
    onnx.checker.check_model(str(tmp_path / "model.onnx"), full_check=True)
    session = onnxruntime.InferenceSession(
        tmp_path / "model.onnx", providers=["CPUExecutionProvider"]
    )
    feed = {
        name: RNG.standard_normal(shape).astype(np.float32)
        for name, shape in (("x", (2, 6)), ("a", (6, 4)), ("b", (4,)))
    }
    assert {one.name: one.shape for one in session.get_inputs()}["a"] == [6, 4]
    [y] = session.run(None, feed)
    np.testing.assert_allclose(y, feed["x"] @ feed["a"] + feed["b"], rtol=1e-5)


@pytest.mark.parametrize("dtype", STORED)
@pytest.mark.parametrize("pieces", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 3, 4096])
def test_a_bound_graph_computes_with_the_files_own_bytes(
    tmp_path: Path, dtype: str, pieces: int, padding: int
) -> None:
    a, b = RNG.standard_normal((6, 4)), RNG.standard_normal(4)
    rows = np.split(a.astype(STORED[dtype]), pieces)
    blob = bytes(padding)
    places = []
    for part in reversed(rows):  # rows that lie in another order than the weight wants them
        places.append(Piece("weights.bin", len(blob), part.nbytes))
        blob += part.tobytes()
    bias = b.astype(STORED[dtype])
    weights = {
        "a": Weight(dtype, tuple(reversed(places))),
        "b": Weight(dtype, (Piece("weights.bin", len(blob), bias.nbytes),)),
    }
    (tmp_path / "weights.bin").write_bytes(blob + bias.tobytes())
    x = RNG.standard_normal((3, 6)).astype(np.float32)
    expected = x @ np.concatenate(rows).astype(np.float32) + bias.astype(np.float32)
    model = bind(template(), weights)
    np.testing.assert_allclose(run(tmp_path, model, x), expected, rtol=1e-5, atol=1e-6)
    assert unbind(model) == (template_as_unbound(), weights)


def template_as_unbound() -> bytes:
    weights = {name: Weight("F32", (Piece("w", 0, 4),)) for name in ("a", "b")}
    return unbind(bind(template(), weights))[0]


places = st.builds(Piece, st.text(min_size=1, max_size=9), st.integers(0, 2**62), st.integers(1, 9))


@given(
    st.fixed_dictionaries(
        {
            name: st.builds(Weight, st.sampled_from(sorted(STORED)), pieces)
            for name, pieces in {
                "a": st.sampled_from([1, 2, 3, 6]).flatmap(
                    lambda n: st.lists(
                        st.builds(
                            Piece, st.text(min_size=1), st.integers(0, 2**62), st.just(96 // n)
                        ),
                        min_size=n,
                        max_size=n,
                    ).map(tuple)
                ),
                "b": st.tuples(places),
            }.items()
        }
    )
)
def test_unbinding_gives_back_what_was_bound(weights: dict[str, Weight]) -> None:
    assert unbind(bind(template(), weights)) == (template_as_unbound(), weights)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(1, 2**20))
def test_numbers_survive_the_wire(value: int, number: int) -> None:
    data = wire.varint(number, value)
    [field] = wire.read_fields(data)
    assert (field.number, field.wire, field.value) == (number, wire.VARINT, value % 2**64)
    assert field.raw == data


def test_a_weight_of_a_dtype_that_no_checkpoint_has_is_refused() -> None:
    model = onnx.load_model_from_string(template())
    model.graph.initializer[1].data_type = TensorProto.STRING
    with pytest.raises(BundleError, match="no weight's"):
        weights.slots(model.SerializeToString())
