"""The rewrites that OpenVINO's graphs go through leave less to compute and the same numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from openvino import opset13 as op

from overpaint.bundle.format.open import open_bundle
from overpaint.engines.choose import open_session
from overpaint.engines.openvino.rewrites import simplify

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(7)
KERNEL = RNG.standard_normal((6, 5, 3, 3), np.float32)
NEAREST = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}


def numbers(*shape: int) -> Array:
    return RNG.standard_normal(shape, np.float32)


def run(model: Any, *arrays: Array) -> list[Array]:
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    results = openvino.Core().compile_model(model, "CPU", exact)(list(arrays))
    return [np.array(results[i]) for i in range(len(model.outputs))]


def kinds(model: Any) -> Counter[str]:
    return Counter(node.get_type_name() for node in model.get_ordered_ops())


def half_stored(values: Array) -> Any:
    """As our graphs have it: in half precision, and a cast."""
    return op.convert(op.constant(values.astype(np.float16)), "f32")


def doubled(scale: float = 2.0, stride: int = 1, pad: int = 1, **how: str) -> Any:
    picture = op.parameter([-1, 5, -1, -1], np.float32)
    by = op.constant(np.array([1, 1, scale, scale], np.float32))
    large = op.interpolate(picture, by, "nearest", "scales", **{**NEAREST, **how})
    pads = [pad, pad]
    out = op.convolution(large, half_stored(KERNEL), [stride, stride], pads, pads, [1, 1])
    return openvino.Model([out], [picture])


def enlarged_to_fit() -> Any:
    """A UNet's: to the size of what it is joined with."""
    picture = op.parameter([-1, 5, -1, -1], np.float32)
    beside = op.parameter([-1, 1, -1, -1], np.float32)
    sides = op.gather(op.shape_of(beside), op.constant([2, 3]), op.constant(0))
    first = op.gather(op.shape_of(picture), op.constant([0, 1]), op.constant(0))
    large = op.interpolate(picture, op.concat([first, sides], 0), "nearest", "sizes", **NEAREST)
    out = op.convolution(large, half_stored(KERNEL), [1, 1], [1, 1], [1, 1], [1, 1])
    return openvino.Model([out], [picture, beside])


def gated(axis: int = 2) -> Any:
    rows = op.parameter([-1, -1, 8], np.float32)
    weight = op.transpose(half_stored(numbers(12, 8)), op.constant([1, 0]))
    linear = op.add(op.matmul(rows, weight, False, False), half_stored(numbers(12)))
    value, gate = op.split(linear, op.constant(axis), 2).outputs()
    return openvino.Model([op.multiply(value, op.gelu(gate, "erf"))], [rows])


def normalized(groups: int = 4, scale: float = 1.0, *, kept: bool = False) -> Any:
    """A group norm of 12 channels, as our exporter writes it."""
    picture = op.parameter([-1, 12, -1, -1], np.float32)
    rows = op.reshape(picture, op.constant([0, groups, -1]), True)
    normal = op.mvn(rows, op.constant([2]), True, 1e-5, "inside_sqrt")
    ones, zeros = (np.full((1, groups, 1), value, np.float32) for value in (scale, 0.0))
    scaled = op.add(op.multiply(normal, op.constant(ones)), op.constant(zeros))
    back = op.reshape(scaled, op.shape_of(picture), False)
    weight, bias = (op.unsqueeze(half_stored(numbers(12)), op.constant([1, 2])) for _ in range(2))
    out = op.add(op.multiply(back, weight), bias)
    return openvino.Model([out, scaled] if kept else [out], [picture])


@pytest.mark.parametrize("groups", [1, 4, 12])
@pytest.mark.parametrize("far", [0.0, 30.0], ids=["around zero", "far from zero"])
def test_a_group_norm_reshapes_nothing(groups: int, far: float) -> None:
    model, picture = normalized(groups), numbers(2, 12, 5, 7) + np.float32(far)
    (expected,) = run(model.clone(), picture)
    simplify(model, openvino)
    assert not {"MVN", "Reshape"} & set(kinds(model))
    (got,) = run(model, picture)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=5e-5)


@pytest.mark.parametrize("sides", [(1, 1), (1, 4), (7, 3), (8, 8)])
def test_a_convolution_of_a_doubled_picture_is_made_on_the_small_one(
    sides: tuple[int, int],
) -> None:
    model, picture = doubled(), numbers(2, 5, *sides)
    (expected,) = run(model.clone(), picture)
    assert simplify(model, openvino) == 1
    assert kinds(model)["Interpolate"] == 0
    (got,) = run(model, picture)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_an_enlargement_to_a_size_is_taken_for_a_doubling_and_said_so() -> None:
    model, picture, beside = enlarged_to_fit(), numbers(2, 5, 4, 3), numbers(2, 1, 8, 6)
    (expected,) = run(model.clone(), picture, beside)
    assert simplify(model, openvino) == 2
    assert kinds(model)["Interpolate"] == 0
    (got,) = run(model, picture, beside)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_for_any_size_an_enlargement_to_a_size_stays() -> None:
    model = enlarged_to_fit()
    before = kinds(model)
    assert simplify(model, openvino, any_size=True) == 1
    assert kinds(model) == before


@pytest.mark.parametrize(
    "other",
    [
        lambda: doubled(scale=3.0),
        lambda: doubled(stride=2),
        lambda: doubled(pad=0),
        lambda: doubled(nearest_mode="ceil"),
        lambda: gated(axis=1),
        lambda: normalized(scale=2.0),
        lambda: normalized(kept=True),
    ],
    ids=[
        "tripled",
        "strided",
        "not padded",
        "rounded up",
        "split elsewhere",
        "scaled by group",
        "wanted within",
    ],
)
def test_what_only_resembles_it_is_left_as_it_is(other: Callable[[], Any]) -> None:
    model = other()
    before = kinds(model)
    simplify(model, openvino)
    assert kinds(model) == before


def test_a_gated_layer_is_two_products_and_no_copy() -> None:
    model, rows = gated(), numbers(2, 3, 8)
    (expected,) = run(model.clone(), rows)
    simplify(model, openvino)
    assert kinds(model)["MatMul"] == 2
    (got,) = run(model, rows)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_a_unet_is_right_at_sizes_that_halve_evenly_and_at_others_in_turn(
    bundles: dict[str, Path],
) -> None:
    bundle = open_bundle(bundles["sd1"])
    told = {"encoder_hidden_states": numbers(2, 7, 32)}
    with open_session(bundle, "unet", "cpu") as cpu, open_session(bundle, "unet", "openvino") as it:
        step = it.bind(told)
        for sides in ((8, 16), (5, 9), (1, 1), (8, 8), (6, 3), (4, 4), (12, 8)):
            feed = {"sample": numbers(2, 4, *sides), "timestep": np.array(500, np.float32)}
            (expected,) = cpu.run(told | feed).values()
            for (got,) in (it.run(told | feed).values(), step(feed).values()):
                assert np.abs(got - expected).max() <= 2e-5 * np.abs(expected).max(), sides
