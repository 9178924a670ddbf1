"""How attention is written: as fused kernels read it, and in no form that they cannot run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import diffusers
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from diffusers.models.attention_processor import Attention, JointAttnProcessor2_0
from onnx.reference import ReferenceEvaluator
from tests.checkpoints import tiny_checkpoint
from torch.nn.functional import scaled_dot_product_attention

from overpaint.export.networks.joint_attention import JointAttention
from overpaint.export.translations import LARGEST_HEAD, TRANSLATIONS

VAE_HEAD = 512


def kinds(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def optimized(graph: Path, folder: Path) -> onnx.ModelProto:
    """The graph as ONNX Runtime runs it, on any provider."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    onnxruntime.InferenceSession(graph, options)
    return onnx.load(folder / "optimized.onnx", load_external_data=False)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Plain(torch.nn.Module):
    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return scaled_dot_product_attention(query, key, value)


def exported(*tensors: torch.Tensor, module: torch.nn.Module | None = None) -> onnx.ModelProto:
    program = torch.onnx.export(
        (module or Plain()).eval(),
        tensors,
        input_names=["query", "key", "value"][: len(tensors)],
        dynamo=True,
        opset_version=23,
        optimize=False,
        custom_translation_table=TRANSLATIONS,
        verbose=False,
    )
    assert program is not None
    return program.model_proto


# ------------------------------------------------------------------ heads side by side


def test_no_tensor_is_transposed_on_its_way_into_attention_or_out(tiny_sd1_bundle: Path) -> None:
    model = onnx.load(tiny_sd1_bundle / "unet" / "model.onnx", load_external_data=False)
    assert kinds(model)["Attention"] == 20
    orders = [
        tuple(node.attribute[0].ints) for node in model.graph.node if node.op_type == "Transpose"
    ]
    assert (0, 2, 1, 3) not in orders
    for node in model.graph.node:
        if node.op_type == "Attention":
            heads = {attribute.name: attribute.i for attribute in node.attribute}
            assert heads["q_num_heads"] == heads["kv_num_heads"] > 0


@pytest.mark.parametrize(("tokens", "context"), [(1, 1), (7, 77), (64, 3)])
def test_heads_side_by_side_are_torchs_attention(tokens: int, context: int) -> None:
    query, key, value = normal(2, 5, tokens, 8), normal(2, 5, context, 8), normal(2, 5, context, 8)
    model = exported(query, key, value)
    assert kinds(model)["Attention"] == 1
    session = onnxruntime.InferenceSession(model.SerializeToString())
    feed = {"query": query.numpy(), "key": key.numpy(), "value": value.numpy()}
    [ours] = session.run(None, feed)
    assert np.abs(ours - Plain()(query, key, value).numpy()).max() < 1e-6


# ------------------------------------------------------------------ large heads


def test_a_head_that_no_fused_kernel_is_made_for_is_products_and_a_softmax() -> None:
    assert VAE_HEAD > LARGEST_HEAD
    tensors = [normal(1, 1, 24, VAE_HEAD, seed=seed) for seed in range(3)]
    model = exported(*tensors)
    assert kinds(model)["Attention"] == 0
    assert (kinds(model)["MatMul"], kinds(model)["Softmax"]) == (2, 1)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = ("query", "key", "value")
    [ours] = session.run(None, dict(zip(names, (t.numpy() for t in tensors), strict=True)))
    assert np.abs(ours - Plain()(*tensors).numpy()).max() < 1e-6


def test_a_vaes_attention_does_not_overflow_half_precision() -> None:
    query = torch.full((1, 1, 4, VAE_HEAD), 16.0, dtype=torch.float16)
    key, value = query.clone(), normal(1, 1, 4, VAE_HEAD).half()
    assert float(query[0, 0, 0].float() @ key[0, 0, 0].float()) > np.finfo(np.float16).max
    model = exported(query, key, value)
    # ONNX's own evaluator multiplies in float16, as a GPU stores; a processor would not notice.
    feed = {"query": query.numpy(), "key": key.numpy(), "value": value.numpy()}
    [ours] = ReferenceEvaluator(model).run(None, feed)
    assert ours.dtype == np.float16
    assert np.abs(ours - value.numpy().mean(axis=2, keepdims=True)).max() < 5e-3


# ------------------------------------------------------------------ Stable Diffusion 3


@pytest.mark.parametrize("norm", [None, "rms_norm"])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("text", [False, True])
def test_joint_attention_is_diffusers(norm: str | None, last: bool, text: bool) -> None:
    torch.manual_seed(1)
    attention = Attention(
        query_dim=32,
        added_kv_proj_dim=32 if text else None,
        dim_head=8,
        heads=4,
        out_dim=32,
        context_pre_only=last if text else None,
        bias=True,
        qk_norm=norm,
        processor=JointAttnProcessor2_0(),
    ).eval()
    feed = {"hidden_states": normal(2, 15, 32)}
    if text:
        feed["encoder_hidden_states"] = normal(2, 7, 32, seed=1)
    with torch.inference_mode():
        theirs = attention(**feed)
        attention.set_processor(JointAttention())
        ours = attention(**feed)
    pairs = zip(ours, theirs, strict=True) if text else [(ours, theirs)]
    for one, other in pairs:
        assert one.shape == other.shape
        assert float((one - other).abs().max()) < 1e-6


@pytest.fixture(scope="module")
def normalized(
    tmp_path_factory: pytest.TempPathFactory, export_remembering: Callable[..., object]
) -> tuple[Path, Path]:
    """A checkpoint as SD 3.5's, whose queries and keys are normalized, and its bundle."""
    folder = tmp_path_factory.mktemp("sd35")
    checkpoint = tiny_checkpoint("sd3", folder / "checkpoint", turbo=True, t5=True)
    export_remembering(checkpoint, folder / "bundle")
    return checkpoint, folder / "bundle"


def test_sd35s_transformer_equals_torch(normalized: tuple[Path, Path]) -> None:
    checkpoint, bundle = normalized
    network = diffusers.SD3Transformer2DModel.from_pretrained(checkpoint, subfolder="transformer")
    config = network.config
    feed = {
        "hidden_states": normal(2, 16, 6, 14),
        "encoder_hidden_states": normal(2, 77 + 256, config.joint_attention_dim),
        "pooled_projections": normal(2, config.pooled_projection_dim),
        "timestep": torch.full((2,), 893.0),
    }
    session = onnxruntime.InferenceSession(bundle / "transformer" / "model.onnx")
    [ours] = session.run(None, {name: tensor.numpy() for name, tensor in feed.items()})
    with torch.inference_mode():
        theirs = network(**feed).sample.numpy()
    assert np.abs(ours - theirs).max() < 1e-5 * np.abs(theirs).max()


@pytest.mark.parametrize("component", ["transformer", "text_encoder_3"])
def test_onnx_runtime_makes_one_kernel_of_each_root_mean_square_norm(
    normalized: tuple[Path, Path], tmp_path: Path, component: str
) -> None:
    graph = normalized[1] / component / "model.onnx"
    norms = kinds(onnx.load(graph, load_external_data=False))["Sqrt"]
    running = kinds(optimized(graph, tmp_path))
    assert norms >= 5
    assert running["SimplifiedLayerNormalization"] == norms
    assert "Sqrt" not in running


def test_an_sd35_transformer_transposes_its_patches_and_nothing_else(
    normalized: tuple[Path, Path], tmp_path: Path
) -> None:
    running = optimized(normalized[1] / "transformer" / "model.onnx", tmp_path)
    # Taken apart and put together: as a transpose, for Einsum ends the capture of a CUDA graph.
    assert kinds(running)["Transpose"] == 2
    assert "Einsum" not in kinds(running)


class Einstein(torch.nn.Module):
    def __init__(self, equation: str) -> None:
        super().__init__()
        self.equation = equation

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        return torch.einsum(self.equation, *tensors)


@pytest.mark.parametrize(
    ("equation", "sides", "operator"),
    [
        ("nhwpqc->nchpwq", [(2, 3, 4, 5, 6, 7)], "Transpose"),
        ("abc -> cab", [(2, 3, 4)], "Transpose"),
        ("abc->ac", [(2, 3, 4)], "Einsum"),
        ("aab->ba", [(3, 3, 4)], "Einsum"),
        ("ij,jk->ik", [(2, 3), (3, 4)], "Einsum"),
    ],
)
def test_an_einsum_that_only_reorders_is_a_transpose(
    equation: str, sides: list[tuple[int, ...]], operator: str
) -> None:
    tensors = [normal(*shape, seed=at) for at, shape in enumerate(sides)]
    model = exported(*tensors, module=Einstein(equation))
    assert kinds(model)[operator] == 1
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = [one.name for one in session.get_inputs()]
    [ours] = session.run(None, dict(zip(names, (t.numpy() for t in tensors), strict=True)))
    assert np.abs(ours - Einstein(equation)(*tensors).numpy()).max() < 1e-5
