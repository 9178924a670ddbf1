"""Every family's bundle: its tensors by optimum's names, its facts, and torch's numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import onnxruntime
import pytest
import torch
import transformers
from tests.checkpoints import CLIP_G_WIDTH, CLIP_L_WIDTH, T5_WIDTH, tiny_checkpoint

from overpaint.bundle.errors import ParityError
from overpaint.bundle.format.manifest import Component, Manifest
from overpaint.bundle.format.manifest_file import read_manifest
from overpaint.export.networks.autoencoder import vae_decoder_part
from overpaint.export.networks.mmdit import transformer_part
from overpaint.export.networks.text import text_part
from overpaint.export.networks.unet import unet_part
from overpaint.export.reduced import measure_reduced

Export = Callable[..., Any]
Array = np.ndarray[Any, Any]


def normal(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def run(bundle: Path, component: str, **feed: Any) -> dict[str, Array]:
    session = onnxruntime.InferenceSession(bundle / component / "model.onnx")
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


def error(ours: Array, theirs: torch.Tensor) -> float:
    assert ours.shape == tuple(theirs.shape)
    return float(np.abs(ours - theirs.numpy()).max() / theirs.abs().max())


def names(component: Component) -> tuple[list[str], list[str]]:
    return [t.name for t in component.inputs], [t.name for t in component.outputs]


# ------------------------------------------------------------------ SD 2


def test_sd2_predicts_v_and_pads_with_an_exclamation_mark(tiny_sd2_bundle: Path) -> None:
    manifest = read_manifest(tiny_sd2_bundle)
    assert (manifest.family, manifest.prediction) == ("sd2", "v_prediction")
    [encoder] = manifest.text.encoders
    assert (encoder.pad_token_id, encoder.length, encoder.pooled) == (0, 77, None)


def test_sd2s_unet_equals_torch(tiny_sd2: Path, tiny_sd2_bundle: Path) -> None:
    unet = diffusers.UNet2DConditionModel.from_pretrained(tiny_sd2, subfolder="unet")
    sample, context = normal(2, 4, 12, 9), normal(2, 77, CLIP_G_WIDTH)
    feed = {"sample": sample, "timestep": np.asarray(17, np.float32)}
    ours = run(tiny_sd2_bundle, "unet", **feed, encoder_hidden_states=context)["out_sample"]
    with torch.inference_mode():
        assert error(ours, unet(torch.tensor(sample), 17, torch.tensor(context)).sample) < 1e-5


# ------------------------------------------------------------------ SDXL


def test_sdxls_tensors_have_optimums_names(tiny_sdxl_bundle: Path) -> None:
    components = read_manifest(tiny_sdxl_bundle).components
    micro = ["text_embeds", "time_ids"]
    assert names(components["unet"]) == (
        ["sample", "timestep", "encoder_hidden_states", *micro],
        ["out_sample"],
    )
    hidden = [f"hidden_states.{k}" for k in range(4)]
    assert names(components["text_encoder"])[1] == ["last_hidden_state", "pooler_output", *hidden]
    assert names(components["text_encoder_2"])[1] == ["text_embeds", "last_hidden_state", *hidden]
    time_ids = next(t for t in components["unet"].inputs if t.name == "time_ids")
    assert time_ids.shape == ("batch", 6)


def test_sdxl_takes_the_layer_before_the_last_and_pools_the_second_encoder(
    tiny_sdxl_bundle: Path,
) -> None:
    text = read_manifest(tiny_sdxl_bundle).text
    assert [e.hidden for e in text.encoders] == ["hidden_states.2", "hidden_states.2"]
    assert [e.pooled for e in text.encoders] == [None, "text_embeds"]
    assert [e.pad_token_id for e in text.encoders] == [49407, 0]
    assert text.zeros_for_absent_negative
    assert not text.aesthetic_score


def test_sdxls_unet_equals_torch(tiny_sdxl: Path, tiny_sdxl_bundle: Path) -> None:
    unet = diffusers.UNet2DConditionModel.from_pretrained(tiny_sdxl, subfolder="unet")
    sample, context = normal(2, 4, 10, 13), normal(2, 77, CLIP_L_WIDTH + CLIP_G_WIDTH)
    pooled, ids = normal(2, CLIP_G_WIDTH), np.asarray([[80, 104, 0, 0, 80, 104.0]] * 2, np.float32)
    ours = run(
        tiny_sdxl_bundle,
        "unet",
        sample=sample,
        timestep=np.asarray(999, np.float32),
        encoder_hidden_states=context,
        text_embeds=pooled,
        time_ids=ids,
    )["out_sample"]
    added = {"text_embeds": torch.tensor(pooled), "time_ids": torch.tensor(ids)}
    with torch.inference_mode():
        theirs = unet(torch.tensor(sample), 999, torch.tensor(context), added_cond_kwargs=added)
    assert error(ours, theirs.sample) < 1e-5


def test_sdxls_second_encoder_equals_transformers(tiny_sdxl: Path, tiny_sdxl_bundle: Path) -> None:
    encoder = transformers.CLIPTextModelWithProjection.from_pretrained(tiny_sdxl / "text_encoder_2")
    ids = np.random.default_rng(0).integers(0, 49408, (2, 77))
    ours = run(tiny_sdxl_bundle, "text_encoder_2", input_ids=ids)
    with torch.inference_mode():
        theirs = encoder(torch.tensor(ids), output_hidden_states=True)
    assert error(ours["text_embeds"], theirs.text_embeds) < 1e-5
    assert error(ours["hidden_states.2"], theirs.hidden_states[-2]) < 1e-5


def test_the_refiner_takes_a_score_and_the_second_encoder_alone(tiny_refiner_bundle: Path) -> None:
    manifest = read_manifest(tiny_refiner_bundle)
    assert manifest.family == "sdxl-refiner"
    assert manifest.text.aesthetic_score
    assert not manifest.text.zeros_for_absent_negative
    assert [e.component for e in manifest.text.encoders] == ["text_encoder_2"]
    time_ids = next(t for t in manifest.components["unet"].inputs if t.name == "time_ids")
    assert time_ids.shape == ("batch", 5)


# ------------------------------------------------------------------ SD 3


def test_sd3_flows_through_sixteen_channels_scaled_and_shifted(tiny_sd3_bundle: Path) -> None:
    manifest = read_manifest(tiny_sd3_bundle)
    assert (manifest.family, manifest.prediction, manifest.denoiser) == (
        "sd3",
        "flow",
        "transformer",
    )
    latents = manifest.latents
    assert (latents.channels, latents.scaling, latents.shift) == (16, 1.5305, 0.0609)
    assert latents.multiple == 16
    side = manifest.components["transformer"].ranges["latent_height"]
    assert (side.minimum, side.maximum, side.multiple) == (2, 48, 2)  # pos_embed_max_size · patch
    assert [e.kind for e in manifest.text.encoders] == ["clip", "clip", "t5"]
    assert (manifest.text.t5_length, manifest.text.t5_width) == (256, T5_WIDTH)


def test_sd3s_tensors_have_optimums_names(tiny_sd3_bundle: Path) -> None:
    assert names(read_manifest(tiny_sd3_bundle).components["transformer"]) == (
        ["hidden_states", "encoder_hidden_states", "pooled_projections", "timestep"],
        ["out_hidden_states"],
    )


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 8, 8), (3, 48, 2), (2, 6, 14)])
def test_sd3s_transformer_equals_torch_at_any_size(
    tiny_sd3: Path, tiny_sd3_bundle: Path, batch: int, height: int, width: int
) -> None:
    transformer = diffusers.SD3Transformer2DModel.from_pretrained(tiny_sd3, subfolder="transformer")
    feed = {
        "hidden_states": normal(batch, 16, height, width),
        "encoder_hidden_states": normal(batch, 77 + 256, T5_WIDTH),
        "pooled_projections": normal(batch, CLIP_L_WIDTH + CLIP_G_WIDTH),
        "timestep": np.full(batch, 893.0, np.float32),
    }
    ours = run(tiny_sd3_bundle, "transformer", **feed)["out_hidden_states"]
    with torch.inference_mode():
        theirs = transformer(**{k: torch.tensor(v) for k, v in feed.items()}).sample
    assert error(ours, theirs) < 1e-5


@pytest.mark.parametrize("tokens", [1, 77, 256, 512])
def test_t5_equals_transformers_at_any_length(
    tiny_sd3: Path, tiny_sd3_bundle: Path, tokens: int
) -> None:
    encoder = transformers.T5EncoderModel.from_pretrained(tiny_sd3 / "text_encoder_3")
    ids = np.random.default_rng(0).integers(0, 1000, (2, tokens))
    ours = run(tiny_sd3_bundle, "text_encoder_3", input_ids=ids)["last_hidden_state"]
    with torch.inference_mode():
        assert error(ours, encoder(torch.tensor(ids)).last_hidden_state) < 1e-5


def test_a_turbo_without_t5_defaults_to_what_keeps_the_picture(
    tmp_path: Path, export_remembering: Export
) -> None:
    checkpoint = tiny_checkpoint("sd3", tmp_path / "checkpoint", turbo=True, t5=False)
    manifest: Manifest = export_remembering(checkpoint, tmp_path / "bundle")
    defaults = manifest.defaults
    assert (defaults.steps, defaults.guidance_scale, defaults.strength) == (4, 1.0, 0.75)
    assert [e.kind for e in manifest.text.encoders] == ["clip", "clip"]
    assert (manifest.text.t5_length, manifest.text.t5_width) == (256, T5_WIDTH)
    assert "text_encoder_3" not in manifest.components


# ------------------------------------------------------------------ guidance-distilled


def test_a_distilled_unet_takes_its_guidance_embedded(
    tmp_path: Path, export_remembering: Export
) -> None:
    """Of one level, which is traced in a quarter of the time."""
    checkpoint = tiny_checkpoint("sd1", tmp_path / "checkpoint")
    small = {"block_out_channels": (32,), "norm_num_groups": 8, "time_cond_proj_dim": 16}
    small |= {
        "down_block_types": ["CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D"],
    }
    diffusers.UNet2DConditionModel(
        sample_size=8, layers_per_block=1, cross_attention_dim=32, **small
    ).save_pretrained(checkpoint / "unet")
    manifest: Manifest = export_remembering(checkpoint, tmp_path / "bundle")
    assert manifest.guidance_embedding_width == 16
    assert names(manifest.components["unet"])[0][-1] == "timestep_cond"
    assert (manifest.defaults.steps, manifest.defaults.guidance_scale) == (4, 8.5)
    unet = diffusers.UNet2DConditionModel.from_pretrained(checkpoint, subfolder="unet")
    feed = {"sample": normal(1, 4, 8, 8), "timestep": np.asarray(259, np.float32)}
    feed |= {"encoder_hidden_states": normal(1, 77, 32), "timestep_cond": normal(1, 16)}
    ours = run(tmp_path / "bundle", "unet", **feed)["out_sample"]
    with torch.inference_mode():
        theirs = unet(**{name: torch.tensor(value) for name, value in feed.items()}).sample
    assert error(ours, theirs) < 1e-5


# ------------------------------------------------------------------ half precision


def test_half_precision_is_inside_and_float32_at_the_boundary(
    tiny_sdxl: Path, exported: Callable[..., Path]
) -> None:
    bundle = exported("sdxl.float16.bundle", tiny_sdxl, dtype="float16")
    components = read_manifest(bundle).components
    computed = {name: component.compute_dtype for name, component in components.items()}
    # Its VAE's config says force_upcast: on encode as on decode, half precision overflows.
    assert computed == {
        "text_encoder": "float16",
        "text_encoder_2": "float16",
        "unet": "float16",
        "vae_encoder": "float32",
        "vae_decoder": "float32",
    }
    for name, component in components.items():
        tensors = (*component.inputs, *component.outputs)
        assert {t.dtype for t in tensors} <= {"float32", "int64"}
        assert component.parity is not None
        if computed[name] == "float16":
            relative = component.parity.max_abs_error / component.parity.max_abs_reference
            assert component.parity.limit == 2e-2
            assert 1e-5 < relative < 1e-2  # rounded as half precision rounds, and no more


def test_a_vae_that_overflows_half_precision_is_kept_in_float32_or_refused(
    tmp_path: Path, export_remembering: Export
) -> None:
    """Its activations pass 65,504, as those of SDXL do: half precision has nothing larger."""
    from safetensors.torch import load_file, save_file

    checkpoint = tiny_checkpoint("sdxl", tmp_path / "checkpoint")
    [file] = (checkpoint / "vae").glob("*.safetensors")
    tensors = load_file(file)
    for side in ("encoder", "decoder"):
        for kind in ("weight", "bias"):
            tensors[f"{side}.conv_in.{kind}"] *= 1e6
    save_file(tensors, file)
    manifest: Manifest = export_remembering(checkpoint, tmp_path / "bundle", dtype="float16")
    assert manifest.components["vae_decoder"].compute_dtype == "float32"
    config = checkpoint / "vae/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"force_upcast": False}))
    with pytest.raises(ParityError, match=r"vae_(en|de)coder: .* differs from torch"):
        export_remembering(checkpoint, tmp_path / "other", dtype="float16")


# ------------------------------------------------------------------ where weights do not fit


def test_parity_can_be_measured_at_reduced_size(
    tiny_sd1: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, export_remembering: Export
) -> None:
    from overpaint.bundle.checkpoint.folder import open_checkpoint
    from overpaint.export.parts import parts_of

    part = parts_of(open_checkpoint(tiny_sd1), "float32")[0]
    parity = measure_reduced(part)
    assert parity.measured_on == "reduced"
    assert 0 < parity.max_abs_error < 1e-5 * parity.max_abs_reference


TRUE_SIZES: dict[str, Any] = {
    "SDXL's refiner": unet_part(
        {
            "in_channels": 4,
            "out_channels": 4,
            "block_out_channels": [384, 768, 1536, 1536],
            "down_block_types": ["DownBlock2D", *["CrossAttnDownBlock2D"] * 2, "DownBlock2D"],
            "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 2, "UpBlock2D"],
            "attention_head_dim": [6, 12, 24, 24],
            "transformer_layers_per_block": 4,
            "cross_attention_dim": 1280,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2560,
            "use_linear_projection": True,
        },
        "float32",
        pooled=1280,
    ),
    "SD 3.5 Medium": transformer_part(
        {
            "in_channels": 16,
            "out_channels": 16,
            "patch_size": 2,
            "num_layers": 24,
            "num_attention_heads": 24,
            "attention_head_dim": 64,
            "joint_attention_dim": 4096,
            "caption_projection_dim": 1536,
            "pooled_projection_dim": 2048,
            "pos_embed_max_size": 384,
            "dual_attention_layers": list(range(13)),
            "qk_norm": "rms_norm",
        },
        "float32",
    ),
    "CLIP bigG": text_part(
        "text_encoder_2",
        "CLIPTextModelWithProjection",
        {
            "hidden_size": 1280,
            "intermediate_size": 5120,
            "num_hidden_layers": 32,
            "num_attention_heads": 20,
            "max_position_embeddings": 77,
            "projection_dim": 1280,
            "vocab_size": 49408,
        },
        "float32",
    ),
    "a VAE": vae_decoder_part(
        {
            "in_channels": 3,
            "out_channels": 3,
            "latent_channels": 4,
            "block_out_channels": [128, 256, 512, 512],
            "down_block_types": ["DownEncoderBlock2D"] * 4,
            "up_block_types": ["UpDecoderBlock2D"] * 4,
            "layers_per_block": 2,
        },
        "float32",
    ),
}


@pytest.mark.parametrize("name", TRUE_SIZES)
def test_a_reduced_network_has_every_kind_of_module_and_few_weights(name: str) -> None:
    """Of the networks at their true sizes, which never take memory here."""
    part = TRUE_SIZES[name]
    with torch.device("meta"):
        full, small = part.make(), part.reduced().make()
    kinds = [{type(module).__name__ for module in net.modules()} for net in (full, small)]
    assert kinds[0] == kinds[1]
    # 32 groups of two channels make 64 the narrowest layer; 64 MB fit where gigabytes do not
    assert 4 * sum(p.numel() for p in small.parameters()) < 64e6
    assert [t.name for t in part.reduced().inputs] == [t.name for t in part.inputs]
