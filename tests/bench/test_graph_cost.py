"""Operations counted from a graph are those that torch counts when it runs the network."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import diffusers
import onnx
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from overpaint.bench.graph_cost import NodeCost, graph_cost
from overpaint.bench.limits import floor_ms
from overpaint.bundle.errors import OverpaintError
from overpaint.engines.onnxruntime.cpu import doubling

BATCH, SIDE, TOKENS = 2, 16, 77
SIZES = {"batch": BATCH, "latent_height": SIDE, "latent_width": SIDE, "tokens": TOKENS}
PICTURE = {"height": SIDE * 8, "width": SIDE * 8}


def flop(path: Path, sizes: dict[str, int]) -> int:
    return sum(node.flop for node in graph_cost(path, sizes))


def test_a_unet_costs_what_torch_counts(tiny_sd1: Path, tiny_sd1_bundle: Path) -> None:
    unet = diffusers.UNet2DConditionModel.from_pretrained(tiny_sd1 / "unet")
    x = torch.zeros(BATCH, 4, SIDE, SIDE)
    context = torch.zeros(BATCH, TOKENS, unet.config.cross_attention_dim)
    # torch's counter is blind to its fused attention on CPUs; in plain products it sees all of it.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        unet(x, torch.tensor(500), context)
    assert flop(tiny_sd1_bundle / "unet" / "model.onnx", SIZES) == counter.get_total_flops()


def test_a_vae_costs_what_torch_counts(tiny_sd1: Path, tiny_sd1_bundle: Path) -> None:
    vae = diffusers.AutoencoderKL.from_pretrained(tiny_sd1 / "vae")
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        vae.decode(torch.zeros(BATCH, 4, SIDE, SIDE))
    assert flop(tiny_sd1_bundle / "vae_decoder" / "model.onnx", SIZES) == counter.get_total_flops()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        vae.encode(torch.zeros(BATCH, 3, SIDE * 8, SIDE * 8))
    counted = flop(tiny_sd1_bundle / "vae_encoder" / "model.onnx", SIZES | PICTURE)
    assert counted == counter.get_total_flops()


@pytest.mark.parametrize("component", ["unet", "vae_decoder"])
def test_convolving_before_doubling_costs_four_ninths(
    tiny_sd1_bundle: Path, component: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubling, "SMALLEST_CHECKED", 1)
    path = tiny_sd1_bundle / component / "model.onnx"
    before = Counter(graph_cost(path, SIZES))
    after = Counter(graph_cost(path, SIZES, rewritten=True))
    gone, come = (before - after).elements(), (after - before).elements()
    gone_flop = sum(node.flop for node in gone)
    assert gone_flop > 0
    assert sum(node.flop for node in come) == gone_flop * 4 / 9


def test_at_sizes_that_do_not_halve_evenly_a_unet_is_counted_as_exported(
    tiny_sd1_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubling, "SMALLEST_CHECKED", 1)
    path, odd = tiny_sd1_bundle / "unet" / "model.onnx", SIZES | {"latent_height": 9}
    assert graph_cost(path, odd, rewritten=True) == graph_cost(path, odd)


def test_weights_are_counted_once_for_each_node_that_reads_them(tmp_path: Path) -> None:
    tensor = onnx.helper.make_tensor_value_info
    weight = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT16, [6, 5], bytes(60), raw=True)
    nodes = [
        onnx.helper.make_node("Cast", ["w"], ["cast"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("Transpose", ["cast"], ["turned"], perm=[1, 0]),
        onnx.helper.make_node("MatMul", ["x", "turned"], ["y"]),
    ]
    shapes = tensor("x", 1, ["batch", 5]), tensor("y", 1, ["batch", 6])
    graph = onnx.helper.make_graph(nodes, "g", [shapes[0]], [shapes[1]], [weight])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "g.onnx")
    assert graph_cost(tmp_path / "g.onnx", {"batch": 3}) == [NodeCost("MatMul", 2 * 3 * 5 * 6, 30)]
    with pytest.raises(OverpaintError, match="'batch'"):
        graph_cost(tmp_path / "g.onnx", {})


def test_the_floor_is_arithmetic_or_weights_node_by_node() -> None:
    arithmetic, weights = NodeCost("Conv", 10**9, 1), NodeCost("Gemm", 1, 10**9)
    assert floor_ms([arithmetic], gflops=100, gbs=10, width=4) == pytest.approx(10)
    assert floor_ms([weights], gflops=100, gbs=10, width=4) == pytest.approx(400)
    assert floor_ms([arithmetic, weights], gflops=100, gbs=10, width=4) == pytest.approx(410)
