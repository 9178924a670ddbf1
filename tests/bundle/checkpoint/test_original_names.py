"""Single files name, fuse and reorder the same tensors: diffusers' own converters agree on each.

For every architecture's true layout (all levels, layers and blocks; small widths, so that values
can be compared) a single file is written by our names, turned into diffusers' by diffusers, and
compared tensor by tensor. A name that we got wrong would be missing, or would hold other values.
"""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch
import transformers
from diffusers.loaders import single_file_utils

from overpaint.bundle.checkpoint.original_names.flux import flux_source
from overpaint.bundle.checkpoint.original_names.flux2 import Flux2VaeNames, flux2_source
from overpaint.bundle.checkpoint.original_names.mmdit import MmditNames
from overpaint.bundle.checkpoint.original_names.text import clip_source, openclip_source, t5_source
from overpaint.bundle.checkpoint.original_names.unet import UnetNames
from overpaint.bundle.checkpoint.original_names.vae import VaeNames
from overpaint.bundle.checkpoint.original_names.z_image import z_image_source
from overpaint.bundle.checkpoint.source import Source, whole

Tensors = dict[str, torch.Tensor]
SD_LEVELS = {
    "block_out_channels": [8, 16, 32, 32],
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
}
SDXL_CONDITIONS = {
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 4,
    "projection_class_embeddings_input_dim": 24,
}
UNETS: dict[str, dict[str, Any]] = {
    "SD 1.x": SD_LEVELS | {"cross_attention_dim": 12},
    "SD 2.x": SD_LEVELS | {"cross_attention_dim": 16, "use_linear_projection": True},
    "SDXL": SDXL_CONDITIONS
    | {
        "block_out_channels": [8, 16, 32],
        "down_block_types": ["DownBlock2D"] + ["CrossAttnDownBlock2D"] * 2,
        "up_block_types": ["CrossAttnUpBlock2D"] * 2 + ["UpBlock2D"],
        "transformer_layers_per_block": [1, 2, 10],
        "cross_attention_dim": 20,
    },
    "SDXL refiner": SDXL_CONDITIONS
    | {
        "block_out_channels": [8, 16, 32, 32],
        "down_block_types": ["DownBlock2D", *["CrossAttnDownBlock2D"] * 2, "DownBlock2D"],
        "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 2, "UpBlock2D"],
        "transformer_layers_per_block": 4,
        "cross_attention_dim": 20,
    },
}
MMDITS: dict[str, dict[str, Any]] = {
    "SD3 Medium": {"num_layers": 24},
    "SD3.5 Medium": {
        "num_layers": 24,
        "dual_attention_layers": tuple(range(13)),
        "qk_norm": "rms_norm",
    },
    "SD3.5 Large": {"num_layers": 38, "qk_norm": "rms_norm"},
}


def single_file(tensors: Tensors, source: Any) -> Tensors:
    """What a single file holds, if `source` is right about where each of `tensors` comes from."""
    parts: dict[str, dict[int, torch.Tensor]] = {}
    shares: dict[str, int] = {}
    for name, tensor in tensors.items():
        where = source(name)
        assert isinstance(where, Source), name
        value = tensor.T if where.transposed else tensor
        for rows, piece in zip(where.rows, value.chunk(len(where.rows)), strict=True):
            place = parts.setdefault(rows.name, {})
            assert rows.part not in place, f"{rows} is claimed twice"
            place[rows.part] = piece
            shares[rows.name] = rows.of
    assert all(len(place) == shares[name] for name, place in parts.items())
    return {name: torch.cat([place[i] for i in sorted(place)]) for name, place in parts.items()}


def assert_same(ours: Tensors, theirs: Tensors) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


def tensors_of(model: torch.nn.Module) -> Tensors:
    return {name: torch.randn(value.shape) for name, value in model.state_dict().items()}


def prefixed(tensors: Tensors, prefix: str) -> Tensors:
    return {prefix + name: tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize("kind", UNETS)
def test_every_tensor_of_a_unet_has_the_name_diffusers_reads(kind: str) -> None:
    unet = diffusers.UNet2DConditionModel(
        **UNETS[kind], attention_head_dim=4, layers_per_block=2, norm_num_groups=4
    )
    ours = tensors_of(unet)
    file = single_file(ours, UnetNames.of(ours).source)
    theirs = single_file_utils.convert_ldm_unet_checkpoint(
        prefixed(file, "model.diffusion_model."), dict(unet.config)
    )
    assert_same(ours, theirs)


@pytest.mark.parametrize("channels", [4, 16])
def test_every_tensor_of_a_vae_has_the_name_diffusers_reads(channels: int) -> None:
    vae = diffusers.AutoencoderKL(
        block_out_channels=(4, 8, 12, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=channels,
        norm_num_groups=4,
        use_quant_conv=channels == 4,
        use_post_quant_conv=channels == 4,
    )
    ours = tensors_of(vae)
    file = single_file(ours, VaeNames.of(ours).source)
    for name in file:
        if ".attn_1." in name and file[name].ndim == 2:
            file[name] = file[name][:, :, None, None]  # 1x1 convolutions there
    theirs = single_file_utils.convert_ldm_vae_checkpoint(
        prefixed(file, "first_stage_model."), dict(vae.config)
    )
    assert_same(ours, theirs)


@pytest.mark.parametrize("kind", MMDITS)
def test_every_tensor_of_an_mmdit_has_the_name_diffusers_reads(kind: str) -> None:
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=4,
        in_channels=4,
        attention_head_dim=4,
        num_attention_heads=2,
        caption_projection_dim=8,
        joint_attention_dim=12,
        pooled_projection_dim=10,
        pos_embed_max_size=4,
        **MMDITS[kind],
    )
    ours = tensors_of(transformer)
    file = single_file(ours, MmditNames.of(ours).source)
    theirs = single_file_utils.convert_sd3_transformer_checkpoint_to_diffusers(
        prefixed(file, "model.diffusion_model.")
    )
    assert_same(ours, theirs)


@pytest.mark.parametrize("guidance", [True, False], ids=["FLUX.1 dev", "FLUX.1 schnell"])
def test_every_tensor_of_a_flux_has_the_name_diffusers_reads(guidance: bool) -> None:
    """diffusers' converter knows one width, so the rows are as many as they truly are, and each of
    one number."""
    with torch.device("meta"):
        transformer = diffusers.FluxTransformer2DModel(guidance_embeds=guidance)
    ours = {
        name: torch.randn(tensor.shape[0], *(1 for _ in tensor.shape[1:]))
        for name, tensor in transformer.state_dict().items()
    }
    file = single_file(ours, flux_source)
    theirs = single_file_utils.convert_flux_transformer_checkpoint_to_diffusers(
        prefixed(file, "model.diffusion_model.")
    )
    assert_same(ours, theirs)


def test_every_tensor_of_a_z_image_has_the_name_diffusers_reads() -> None:
    with torch.device("meta"):
        transformer = diffusers.ZImageTransformer2DModel()
    ours = {
        name: torch.randn(tensor.shape[0], *(1 for _ in tensor.shape[1:]))
        for name, tensor in transformer.state_dict().items()
    }
    file = single_file(ours, z_image_source)
    assert {"x_embedder.weight", "final_layer.linear.bias", "layers.29.attention.qkv.weight"} <= {
        *file
    }
    theirs = single_file_utils.convert_z_image_transformer_checkpoint_to_diffusers(
        prefixed(file, "model.diffusion_model.")
    )
    assert_same(ours, theirs)


def test_every_tensor_of_a_flux2_has_the_name_diffusers_reads() -> None:
    with torch.device("meta"):
        transformer = diffusers.Flux2Transformer2DModel(num_layers=2, guidance_embeds=False)
    ours = {
        name: torch.randn(tensor.shape[0], *(1 for _ in tensor.shape[1:]))
        for name, tensor in transformer.state_dict().items()
    }
    file = single_file(ours, flux2_source)
    names = {
        "img_in.weight",
        "double_blocks.1.txt_attn.qkv.weight",
        "single_blocks.47.linear1.weight",
    }
    assert names <= {*file}
    theirs = single_file_utils.convert_flux2_transformer_checkpoint_to_diffusers(file)
    assert_same(ours, theirs)


def test_flux2s_vae_has_its_convolutions_of_moments_and_latents_within_its_halves() -> None:
    """As black-forest-labs' `flux2-vae.safetensors` has them; the rest is Stable Diffusion's."""
    with torch.device("meta"):
        names = [*diffusers.AutoencoderKLFlux2().state_dict()]
    source = Flux2VaeNames.of(names).source
    plain = VaeNames.of(names).source
    for name in names:
        assert (found := source(name)) is not None
        place = {
            "quant_conv.weight": "encoder.quant_conv.weight",
            "quant_conv.bias": "encoder.quant_conv.bias",
            "post_quant_conv.weight": "decoder.post_quant_conv.weight",
            "post_quant_conv.bias": "decoder.post_quant_conv.bias",
            "bn.running_mean": "bn.running_mean",
            "bn.running_var": "bn.running_var",
        }.get(name)
        assert found == (plain(name) if place is None else whole(place))


def clip(layers: int, width: int, *, projection: bool) -> Any:
    config = transformers.CLIPTextConfig(
        vocab_size=12,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        projection_dim=width,
        bos_token_id=0,
        eos_token_id=2,
    )
    kind = transformers.CLIPTextModelWithProjection if projection else transformers.CLIPTextModel
    return kind(config)


@pytest.mark.parametrize(
    ("layers", "prefix", "projection"),
    [
        (23, "cond_stage_model.model.", False),  # SD 2.x: OpenCLIP-H without its last layer
        (32, "conditioner.embedders.1.model.", True),  # SDXL: bigG
        (32, "conditioner.embedders.0.model.", True),  # its refiner
    ],
)
def test_every_tensor_of_an_openclip_encoder_has_the_name_diffusers_reads(
    layers: int, prefix: str, projection: bool
) -> None:
    model = clip(layers, 8, projection=projection)
    ours = tensors_of(model)
    file = single_file(ours, openclip_source)
    theirs = single_file_utils.convert_open_clip_checkpoint(model, prefixed(file, prefix), prefix)
    wrapped = {name if projection else "text_model." + name: ours[name] for name in ours}
    assert_same(wrapped, theirs)


@pytest.mark.parametrize(
    ("prefix", "projection"),
    [
        ("cond_stage_model.transformer.", False),
        ("conditioner.embedders.0.transformer.", False),
        ("text_encoders.clip_l.transformer.", True),
        ("text_encoders.clip_g.transformer.", True),
    ],
)
def test_every_tensor_of_a_clip_encoder_has_the_name_diffusers_reads(
    prefix: str, projection: bool
) -> None:
    ours = tensors_of(clip(12, 8, projection=projection))
    file = single_file(ours, clip_source)
    theirs = single_file_utils.convert_ldm_clip_checkpoint(prefixed(file, prefix), prefix)
    wrapped = {name if projection else "text_model." + name: ours[name] for name in ours}
    assert_same(wrapped, theirs)


def test_every_tensor_of_t5_has_the_name_diffusers_reads() -> None:
    config = transformers.T5Config(
        vocab_size=20, d_model=8, d_kv=4, d_ff=16, num_layers=24, num_heads=2,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    ours = tensors_of(transformers.T5EncoderModel(config))
    ours.pop("encoder.embed_tokens.weight")
    assert t5_source("encoder.embed_tokens.weight") == t5_source("shared.weight")
    file = prefixed(single_file(ours, t5_source), "text_encoders.t5xxl.transformer.")
    assert_same(ours, single_file_utils.convert_sd3_t5_checkpoint_to_diffusers(file))
