"""Rounding a graph to eight bits: what it computes then, and what the real builder makes of it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import rtx_quantised as study
from quantised_graph import FORMATS, products, quantised, reader_of, watched
from tests.doubles.tensorrt_here import pocket

from overpaint.bundle.errors import SessionError
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.graph.weights import unbind
from overpaint.engines.tensorrt.builder import build_plan
from overpaint.engines.tensorrt.libraries import library
from overpaint.engines.tensorrt.shapes import PictureRange, ranged_profiles

ENCODER = "text_encoder"  # the smallest network that is whole: a dozen products

rtx = pytest.mark.skipif(sys.platform != "linux", reason="the builder's package here is Linux's")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return pocket(tmp_path / "pocket")


def states(bundle: Bundle, graph: Path) -> tuple[np.ndarray, dict[str, float]]:
    """The encoder's hidden states by a graph, and how far the activations reach that it watches."""
    engine = study.Plain(graph, bundle.component(ENCODER))
    tokens = np.arange(32, dtype=np.int64)[None]
    return np.asarray(engine.run({"input_ids": tokens}, {})["last_hidden_state"]), engine.reach


def rounded(bundle: Bundle, format_: str) -> Path:
    """The encoder's graph in a format, scaled by what it does with one text."""
    graph = bundle.path(bundle.component(ENCODER).graph)
    beside = graph.with_name("watched.onnx")
    beside.write_bytes(watched(graph.read_bytes()))
    reach = {name.removesuffix(":most"): far for name, far in states(bundle, beside)[1].items()}
    path = graph.with_name(f"{format_}.onnx")
    model = quantised(graph.read_bytes(), FORMATS[format_], reach, reader_of(graph.parent))
    path.write_bytes(model)
    return path


def plan(bundle: Bundle, graph: Path, *cards: str) -> int:
    """The size of the plan that the real builder makes."""
    built = build_plan(
        library("tensorrt_rtx").module,
        graph,
        ranged_profiles(bundle.manifest, PictureRange.parse("64:64:128"))[ENCODER],
        compute_capabilities=cards,
        report=lambda fraction, phase: None,
        cancelled=lambda: False,
    )
    return len(bytes(built.plan))


@pytest.mark.parametrize(("format_", "far"), [("int8", 0.05), ("fp8", 0.1)])
def test_a_rounded_graph_computes_nearly_the_same(bundle: Bundle, format_: str, far: float) -> None:
    exact, _ = states(bundle, bundle.path(bundle.component(ENCODER).graph))
    near, _ = states(bundle, rounded(bundle, format_))
    error = np.linalg.norm(near - exact) / np.linalg.norm(exact)
    assert 0.001 < error < far


def test_watching_changes_nothing_and_sees_every_product(bundle: Bundle) -> None:
    graph = bundle.path(bundle.component(ENCODER).graph)
    beside = graph.with_name("watched.onnx")
    beside.write_bytes(watched(graph.read_bytes()))
    seen, reach = states(bundle, beside)
    np.testing.assert_allclose(seen, states(bundle, graph)[0], rtol=1e-4, atol=1e-5)
    template, _ = unbind(graph.read_bytes())
    assert set(reach) == {f"{one.activation}:most" for one in products(template)}
    assert min(reach.values()) > 0


def test_the_first_and_the_last_convolution_stay_as_they_are(bundle: Bundle) -> None:
    template, _ = unbind(bundle.path(bundle.component("unet").graph).read_bytes())
    stored = {one.stored for one in products(template)}
    assert not {"conv_in.weight", "conv_out.weight"} & stored
    assert "down_blocks.0.resnets.0.conv1.weight" in stored


@rtx
def test_the_real_builder_stores_the_weights_in_fewer_bits(bundle: Bundle) -> None:
    graph = bundle.path(bundle.component(ENCODER).graph)
    template, weights = unbind(graph.read_bytes())
    stored = {one.stored for one in products(template)}
    numbers = sum(piece.length // 2 for name in stored for piece in weights[name].pieces)
    plain = plan(bundle, graph, "8.9")
    for format_ in FORMATS:
        spared = plain - plan(bundle, rounded(bundle, format_), "8.9")
        assert spared > numbers, format_  # a byte of each at least


@rtx
def test_eight_bit_floats_are_refused_for_cards_before_ada(bundle: Bundle) -> None:
    with pytest.raises(SessionError, match=r"Cannot compile for target\(s\) sm80.*fp8_e4m3"):
        plan(bundle, rounded(bundle, "fp8"), "8.0", "8.9")


def test_the_gate_compares_pictures(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "SIDE", 64)
    monkeypatch.setattr(study, "TEACHERS", study.TEACHERS[:1])
    path = study.write(bundle, "int8", study.calibrate(bundle))
    assert study.gate(bundle, study.graph_of(bundle)) == np.inf
    assert 20 < study.gate(bundle, path) < 60
