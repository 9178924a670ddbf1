"""Tiny Stable Diffusion checkpoints, built from a seed with the real classes and no hub.

Everything that carries behaviour is real: the model classes, the four-level layouts, the CLIP
vocabulary with each tokenizer's own padding, every scheduler's and VAE's numbers. Only the widths
and depths are small, and the last layers are scaled so that a random network gives outputs of the
size that a trained one gives (a decoded picture has contrast, a posterior has a visible width,
a prompt changes the prediction).
"""

from __future__ import annotations

import functools
import gzip
import importlib.util
import json
import math
from pathlib import Path
from typing import Any, Literal

import diffusers
import torch
import transformers

Family = Literal["sd1", "sd2", "sdxl", "sdxl-refiner", "sd3", "flux1", "z-image", "flux2-klein"]

CLIP_L_WIDTH = 32
CLIP_G_WIDTH = 48
QWEN_WIDTH = 48
T5_WIDTH = 96  # both CLIPs side by side are padded up to it


def tiny_checkpoint(
    family: Family,
    folder: str | Path,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    turbo: bool = False,
    t5: bool = True,
    shard_size: str | None = None,
    time_cond_proj_dim: int | None = None,
    inpainting: bool = False,
) -> Path:
    """Write a diffusers folder for `family` and return its path.

    `dtype` is how the weights are stored. `turbo`: the few-step, guidance-free variant (SDXL Turbo,
    SD 3.5 Large Turbo, FLUX.1 schnell, Z-Image-Turbo, FLUX.2 klein, by their configs). `t5`:
    whether SD 3 has its third encoder (without it, diffusers loads the folder with
    `text_encoder_3=None, tokenizer_3=None`).
    `shard_size`: split weights as large checkpoints are ("200KB"). `time_cond_proj_dim`: a UNet
    with a guidance embedding, as LCM distillation makes them. `inpainting`: a denoiser that takes
    the mask and the masked picture's latents behind the noisy latents.
    """
    folder = Path(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if family == "sd3":
            pipeline = _sd3(turbo=turbo, t5=t5, inpainting=inpainting)
        elif family == "flux1":
            pipeline = _flux1(schnell=turbo)
        elif family == "z-image":
            pipeline = _z_image(turbo=turbo)
        elif family == "flux2-klein":
            pipeline = _flux2_klein(distilled=turbo)
        elif family in ("sdxl", "sdxl-refiner"):
            pipeline = _sdxl(
                refiner=family == "sdxl-refiner",
                turbo=turbo,
                time_cond_proj_dim=time_cond_proj_dim,
                inpainting=inpainting,
            )
        else:
            pipeline = _sd(
                v2=family == "sd2", time_cond_proj_dim=time_cond_proj_dim, inpainting=inpainting
            )
    shards = {} if shard_size is None else {"max_shard_size": shard_size}
    if dtype != torch.float32:
        pipeline.to(dtype=dtype)
    transformers.utils.logging.disable_progress_bar()
    pipeline.save_pretrained(folder, safe_serialization=True, **shards)
    if turbo and family in (
        "sdxl",
        "sd3",
    ):  # all that tells SD 3.5 Large Turbo's files from SD 3.5 Large's
        index = json.loads((folder / "model_index.json").read_text())
        index["_name_or_path"] = (
            f"stabilityai/{'sdxl' if family == 'sdxl' else 'sd3.5-large'}-turbo"
        )
        (folder / "model_index.json").write_text(json.dumps(index, indent=2))
    for name in ("tokenizer", "tokenizer_2"):
        if isinstance(getattr(pipeline, name, None), transformers.CLIPTokenizer):
            write_clip_vocabulary(folder / name)
    return folder


# ---------------------------------------------------------------------------- whole pipelines


def _sd(*, v2: bool, time_cond_proj_dim: int | None, inpainting: bool) -> Any:
    width = CLIP_G_WIDTH if v2 else CLIP_L_WIDTH
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        in_channels=9 if inpainting else 4,
        out_channels=4,
        block_out_channels=(32, 64, 64, 64),
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=width,
        attention_head_dim=[2, 4, 4, 4] if v2 else 8,
        use_linear_projection=v2,
        upcast_attention=v2,
        time_cond_proj_dim=time_cond_proj_dim,
    )
    _calibrate_unet(unet, width)
    common = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "num_train_timesteps": 1000,
        "set_alpha_to_one": False,
        "steps_offset": 1,
    }
    scheduler = (
        diffusers.DDIMScheduler(clip_sample=False, prediction_type="v_prediction", **common)
        if v2
        else diffusers.PNDMScheduler(skip_prk_steps=True, prediction_type="epsilon", **common)
    )
    pipeline = (
        diffusers.StableDiffusionInpaintPipeline
        if inpainting
        else diffusers.StableDiffusionPipeline
    )
    return pipeline(
        vae=_vae(latent_channels=4, scaling=0.18215, shift=None, force_upcast=False),
        text_encoder=_clip(width, "gelu" if v2 else "quick_gelu", projection=None, pad=1),
        tokenizer=_clip_tokenizer("!" if v2 else "<|endoftext|>"),
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _sdxl(*, refiner: bool, turbo: bool, time_cond_proj_dim: int | None, inpainting: bool) -> Any:
    width = CLIP_G_WIDTH if refiner else CLIP_L_WIDTH + CLIP_G_WIDTH
    time_width = 8
    down = ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D")
    up = ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D")
    if refiner:
        down, up = (*down, "DownBlock2D"), ("UpBlock2D", *up)
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        in_channels=9 if inpainting else 4,
        out_channels=4,
        block_out_channels=(32, 64, 64, 64)[: len(down)],
        down_block_types=down,
        up_block_types=up,
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=width,
        attention_head_dim=[2, 4, 4, 4][: len(down)],
        transformer_layers_per_block=2 if refiner else [1, 1, 2],
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=time_width,
        projection_class_embeddings_input_dim=CLIP_G_WIDTH + (5 if refiner else 6) * time_width,
        time_cond_proj_dim=time_cond_proj_dim,
    )
    pooled = {
        "text_embeds": torch.randn(2, CLIP_G_WIDTH),
        "time_ids": torch.full((2, 5 if refiner else 6), 64.0),
    }
    _calibrate_unet(unet, width, added_cond_kwargs=pooled)
    if turbo:
        scheduler: Any = diffusers.EulerAncestralDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            timestep_spacing="trailing",
            steps_offset=1,
        )
    else:
        scheduler = diffusers.EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            timestep_spacing="leading",
            steps_offset=1,
        )
    common = {
        "vae": _vae(latent_channels=4, scaling=0.13025, shift=None, force_upcast=True),
        "text_encoder": None if refiner else _clip(CLIP_L_WIDTH, "quick_gelu", None, pad=1),
        "tokenizer": None if refiner else _clip_tokenizer("<|endoftext|>"),
        "text_encoder_2": _clip(CLIP_G_WIDTH, "gelu", projection=CLIP_G_WIDTH, pad=1),
        "tokenizer_2": _clip_tokenizer("!"),
        "unet": unet,
        "scheduler": scheduler,
        "add_watermarker": False,
    }
    if refiner:
        return diffusers.StableDiffusionXLImg2ImgPipeline(
            **common, force_zeros_for_empty_prompt=False, requires_aesthetics_score=True
        )
    pipeline = (
        diffusers.StableDiffusionXLInpaintPipeline
        if inpainting
        else diffusers.StableDiffusionXLPipeline
    )
    return pipeline(**common, force_zeros_for_empty_prompt=True)


def _sd3(*, turbo: bool, t5: bool, inpainting: bool) -> Any:
    heads, head_width = 4, 16
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=33 if inpainting else 16,
        out_channels=16,
        num_layers=2,
        attention_head_dim=head_width,
        num_attention_heads=heads,
        joint_attention_dim=T5_WIDTH,
        caption_projection_dim=heads * head_width,
        pooled_projection_dim=CLIP_L_WIDTH + CLIP_G_WIDTH,
        pos_embed_max_size=24,
        qk_norm="rms_norm" if turbo else None,
    )
    _calibrate_transformer(transformer)
    pipeline = (
        diffusers.StableDiffusion3InpaintPipeline
        if inpainting
        else diffusers.StableDiffusion3Pipeline
    )
    return pipeline(
        transformer=transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0),
        vae=_vae(latent_channels=16, scaling=1.5305, shift=0.0609, force_upcast=True),
        text_encoder=_clip(CLIP_L_WIDTH, "quick_gelu", projection=CLIP_L_WIDTH, pad=1),
        tokenizer=_clip_tokenizer("<|endoftext|>"),
        text_encoder_2=_clip(CLIP_G_WIDTH, "gelu", projection=CLIP_G_WIDTH, pad=1),
        tokenizer_2=_clip_tokenizer("!"),
        text_encoder_3=_t5() if t5 else None,
        tokenizer_3=_t5_tokenizer() if t5 else None,
    )


def _flux1(*, schnell: bool) -> Any:
    transformer = diffusers.FluxTransformer2DModel(
        in_channels=64,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=4,
        joint_attention_dim=T5_WIDTH,
        pooled_projection_dim=CLIP_L_WIDTH,
        guidance_embeds=not schnell,
        axes_dims_rope=(4, 6, 6),
    )
    _calibrate_flux(transformer)
    shift = {"shift": 1.0} if schnell else {"shift": 3.0, "use_dynamic_shifting": True}
    return diffusers.FluxPipeline(
        transformer=transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(max_shift=1.15, **shift),
        vae=_vae(latent_channels=16, scaling=0.3611, shift=0.1159, force_upcast=True),
        text_encoder=_clip(CLIP_L_WIDTH, "quick_gelu", projection=None, pad=1),
        tokenizer=_clip_tokenizer("<|endoftext|>"),
        text_encoder_2=_t5(),
        tokenizer_2=_t5_tokenizer(),
    )


def _z_image(*, turbo: bool) -> Any:
    transformer = diffusers.ZImageTransformer2DModel(
        dim=64,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=4,
        n_kv_heads=4,
        cap_feat_dim=QWEN_WIDTH,
        axes_dims=[4, 6, 6],
        axes_lens=[1536, 512, 512],
    )
    _calibrate_z_image(transformer)
    return diffusers.ZImagePipeline(
        transformer=transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0 if turbo else 6.0),
        vae=_vae(latent_channels=16, scaling=0.3611, shift=0.1159, force_upcast=True),
        text_encoder=_qwen3(),
        tokenizer=_qwen3_tokenizer(),
    )


def _flux2_klein(*, distilled: bool) -> Any:
    transformer = diffusers.Flux2Transformer2DModel(
        in_channels=128,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=4,
        joint_attention_dim=3 * QWEN_WIDTH,
        guidance_embeds=False,
        axes_dims_rope=(4, 4, 4, 4),
    )
    _calibrate_flux2(transformer)
    return diffusers.Flux2KleinPipeline(
        transformer=transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=_vae_flux2(),
        text_encoder=_qwen3(whole=True),
        tokenizer=_qwen3_tokenizer(),
        is_distilled=distilled,
    )


# ---------------------------------------------------------------------------- their parts


def _vae(
    *, latent_channels: int, scaling: float, shift: float | None, force_upcast: bool
) -> diffusers.AutoencoderKL:
    quant = shift is None
    vae = diffusers.AutoencoderKL(
        block_out_channels=(16, 16, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=8,
        sample_size=64,
        scaling_factor=scaling,
        shift_factor=shift,
        force_upcast=force_upcast,
        use_quant_conv=quant,
        use_post_quant_conv=quant,
    )
    with torch.no_grad():
        pixels = torch.nn.functional.interpolate(torch.randn(2, 3, 8, 8), 64).clamp(-1, 1)
        moments = vae.encoder(pixels)
        last = vae.encoder.conv_out
        mean, spread = moments.mean((0, 2, 3)), moments.std((0, 2, 3))
        half = latent_channels
        target_spread = torch.cat([torch.full((half,), 1 / scaling), torch.ones(half)])
        target_mean = torch.cat([torch.full((half,), shift or 0.0), torch.full((half,), -3.0)])
        last.weight.mul_((target_spread / spread)[:, None, None, None])
        last.bias.copy_((last.bias - mean) * target_spread / spread + target_mean)
        if quant:
            for conv in (vae.quant_conv, vae.post_quant_conv):
                eye = torch.eye(conv.out_channels)[:, :, None, None]
                conv.weight.copy_(eye + 0.02 * torch.randn_like(conv.weight))
                conv.bias.mul_(0.1)
        decoded = vae.decode(vae.encode(pixels).latent_dist.mean).sample
        last = vae.decoder.conv_out
        gain = 0.5 / decoded.std((0, 2, 3))
        last.weight.mul_(gain[:, None, None, None])
        last.bias.copy_((last.bias - decoded.mean((0, 2, 3))) * gain)
    return vae.eval()


def _vae_flux2() -> diffusers.AutoencoderKLFlux2:
    """Its latents lie off the centre and are not of unit size: its statistics say how."""
    vae = diffusers.AutoencoderKLFlux2(
        block_out_channels=(16, 16, 32, 32),
        layers_per_block=1,
        latent_channels=32,
        norm_num_groups=8,
        sample_size=64,
    )
    with torch.no_grad():
        for conv in (vae.quant_conv, vae.post_quant_conv):
            eye = torch.eye(conv.out_channels)[:, :, None, None]
            conv.weight.copy_(eye + 0.02 * torch.randn_like(conv.weight))
            conv.bias.mul_(0.1)
        pixels = torch.nn.functional.interpolate(torch.randn(4, 3, 8, 8), 64).clamp(-1, 1)
        mean = vae.encode(pixels).latent_dist.mean
        patches = torch.nn.functional.pixel_unshuffle(mean, 2)
        vae.bn.running_mean.copy_(patches.mean((0, 2, 3)))
        vae.bn.running_var.copy_(patches.var((0, 2, 3)))
        decoded = vae.decode(mean).sample
        last = vae.decoder.conv_out
        gain = 0.5 / decoded.std((0, 2, 3))
        last.weight.mul_(gain[:, None, None, None])
        last.bias.copy_((last.bias - decoded.mean((0, 2, 3))) * gain)
    return vae.eval()


def _calibrate_unet(unet: diffusers.UNet2DConditionModel, width: int, **conditions: Any) -> None:
    """Scale the last layer to unit outputs, after making the prompt matter."""
    with torch.no_grad():
        for name, module in unet.named_modules():
            if name.endswith("attn2.to_out.0"):
                module.weight.mul_(4)
        out = unet(
            torch.randn(2, unet.config.in_channels, 8, 8),
            torch.tensor(500),
            torch.randn(2, 77, width),
            **conditions,
        ).sample
        unet.conv_out.weight.div_(out.std())
        unet.conv_out.bias.div_(out.std())
    unet.eval()


def _calibrate_transformer(transformer: diffusers.SD3Transformer2DModel) -> None:
    with torch.no_grad():
        out = transformer(
            hidden_states=torch.randn(2, transformer.config.in_channels, 8, 8),
            encoder_hidden_states=torch.randn(2, 77, T5_WIDTH),
            pooled_projections=torch.randn(2, CLIP_L_WIDTH + CLIP_G_WIDTH),
            timestep=torch.full((2,), 500.0),
        ).sample
        transformer.proj_out.weight.div_(out.std())
        transformer.proj_out.bias.div_(out.std())
    transformer.eval()


def _calibrate_flux(transformer: diffusers.FluxTransformer2DModel) -> None:
    """Scale the last layer to unit outputs, after making prompt and guidance matter."""
    rows, columns = torch.arange(16) // 4, torch.arange(16) % 4
    with torch.no_grad():
        for name, weight in transformer.named_parameters():
            if any(part in name for part in ("to_add_out", "text_embedder", "guidance_embedder")):
                weight.mul_(3)
        out = transformer(
            hidden_states=torch.randn(2, 16, 64),
            encoder_hidden_states=torch.randn(2, 77, T5_WIDTH),
            pooled_projections=torch.randn(2, CLIP_L_WIDTH),
            timestep=torch.full((2,), 0.5),
            img_ids=torch.stack([torch.zeros(16), rows, columns], dim=1),
            txt_ids=torch.zeros(77, 3),
            guidance=torch.full((2,), 3.5) if transformer.config.guidance_embeds else None,
        ).sample
        transformer.proj_out.weight.div_(out.std())
        transformer.proj_out.bias.div_(out.std())
    transformer.eval()


def _calibrate_flux2(transformer: diffusers.Flux2Transformer2DModel) -> None:
    """Scale the last layer to unit outputs, after making prompt and reference pictures matter."""
    rows, columns, nowhere = torch.arange(16) // 4, torch.arange(16) % 4, torch.zeros(16)
    values = ("to_v", "add_v_proj", "to_out", "to_add_out", "context_embedder")
    with torch.no_grad():
        for name, weight in transformer.named_parameters():
            if any(part in name for part in values):
                weight.mul_(3)
            if "modulation" in name:
                weight.mul_(6)
        out = transformer(
            hidden_states=torch.randn(2, 16, 128),
            encoder_hidden_states=torch.randn(2, 77, 3 * QWEN_WIDTH),
            timestep=torch.full((2,), 0.5),
            img_ids=torch.stack([nowhere, rows, columns, nowhere], dim=1),
            txt_ids=torch.cat([torch.zeros(77, 3), torch.arange(77)[:, None]], dim=1),
        ).sample
        transformer.proj_out.weight.div_(out.std())
    transformer.eval()


def _calibrate_z_image(transformer: diffusers.ZImageTransformer2DModel) -> None:
    """Scale the last layer to unit outputs, after giving the filling tokens something to say."""
    with torch.no_grad():
        transformer.x_pad_token.normal_()
        transformer.cap_pad_token.normal_()
        pictures = list(torch.randn(2, 16, 1, 8, 8))
        captions = [torch.randn(40, QWEN_WIDTH), torch.randn(9, QWEN_WIDTH)]
        out = torch.stack(transformer(pictures, torch.full((2,), 0.5), captions).sample)
        last = transformer.all_final_layer["2-1"].linear
        last.weight.div_(out.std())
        last.bias.div_(out.std())
    transformer.eval()


def _clip(
    width: int, activation: str, projection: int | None, pad: int
) -> transformers.PreTrainedModel:
    config = transformers.CLIPTextConfig(
        vocab_size=49408,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=77,
        hidden_act=activation,
        projection_dim=projection or width,
        bos_token_id=0,
        eos_token_id=2,  # as Stable Diffusion's own files say: the pooled token is the argmax
        pad_token_id=pad,
    )
    kind = transformers.CLIPTextModelWithProjection if projection else transformers.CLIPTextModel
    model = kind(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("token_embedding.weight", "position_embedding.weight")):
                weight.normal_(std=0.7)
            elif weight.ndim == 2:
                weight.normal_(std=1 / math.sqrt(weight.shape[1]))
    return model


def _t5() -> transformers.PreTrainedModel:
    config = transformers.T5Config(
        vocab_size=len(_t5_pieces()),
        d_model=T5_WIDTH,
        d_kv=16,
        d_ff=2 * T5_WIDTH,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        is_gated_act=True,
        dense_act_fn="gelu_new",
        decoder_start_token_id=0,
        tie_word_embeddings=False,
    )
    model = transformers.T5EncoderModel(config).eval()
    with torch.no_grad():
        model.shared.weight.normal_()
    return model


def _qwen3(*, whole: bool = False) -> transformers.PreTrainedModel:
    """The language model that an encoder is a part of, if `whole`."""
    config = transformers.Qwen3Config(
        vocab_size=len(_qwen3_vocabulary()[0]) + len(CHAT_TOKENS),
        hidden_size=QWEN_WIDTH,
        intermediate_size=2 * QWEN_WIDTH,
        num_hidden_layers=4 if whole else 3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=True,
    )
    model = (transformers.Qwen3ForCausalLM if whole else transformers.Qwen3Model)(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 2:
                weight.normal_(std=0.7 if "embed" in name else 1 / math.sqrt(weight.shape[1]))
    return model


# ---------------------------------------------------------------------------- tokenizers

CHAT_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""
"""Qwen3's rules for what a user says, without those for tools and for answers."""


@functools.cache
def clip_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """CLIP's own 49,408 tokens and 48,894 merges, from the list that open_clip's wheel carries."""
    spec = importlib.util.find_spec("open_clip")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the tests read CLIP's merges from open_clip_torch: pip install it")
    path = Path(spec.submodule_search_locations[0]) / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.decompress(path.read_bytes()).decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    merges = [(left, right) for left, right in (line.split() for line in lines)]
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printable]
    characters = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(rest))]
    tokens = characters + [character + "</w>" for character in characters]
    tokens += ["".join(pair) for pair in merges] + ["<|startoftext|>", "<|endoftext|>"]
    return {token: index for index, token in enumerate(tokens)}, merges


@functools.cache
def _clip_tokenizer(pad_token: str) -> transformers.CLIPTokenizer:
    vocabulary, merges = clip_vocabulary()
    return transformers.CLIPTokenizer(
        vocab=vocabulary, merges=list(merges), pad_token=pad_token, model_max_length=77
    )


def write_clip_vocabulary(folder: Path) -> None:
    """`vocab.json` and `merges.txt`, as published checkpoints have them (and no tokenizer.json)."""
    vocabulary, merges = clip_vocabulary()
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), "utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", "utf-8")
    (folder / "tokenizer.json").unlink(missing_ok=True)


@functools.cache
def _t5_pieces() -> tuple[tuple[str, float], ...]:
    """A Unigram vocabulary in T5's order: specials, pieces by falling frequency, sentinels."""
    words = [
        token.removesuffix("</w>")
        for token in clip_vocabulary()[0]
        if token.endswith("</w>") and token.removesuffix("</w>").isascii()
    ][:3000]
    pieces = ["▁", *("▁" + word for word in words), *(chr(code) for code in range(33, 127))]
    pieces = list(dict.fromkeys(pieces))
    scored = [(piece, -2.0 - math.log1p(rank)) for rank, piece in enumerate(pieces)]
    specials = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return (*specials, *scored, *((f"<extra_id_{i}>", 0.0) for i in range(99, -1, -1)))


def _t5_tokenizer() -> transformers.T5TokenizerFast:
    return transformers.T5TokenizerFast(vocab=list(_t5_pieces()), model_max_length=512)


@functools.cache
def _qwen3_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Bytes, and merges of them as CLIP's first are, with the space before a word."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    tokens = [*(chr(byte) for byte in printable), *(chr(256 + i) for i in range(256 - 188))]
    merges = [("\u0120", letter) for letter in tokens[:94]]
    merges += [(left, right.removesuffix("</w>")) for left, right in clip_vocabulary()[1][:2000]]
    merges = list(dict.fromkeys(merges))
    tokens += [left + right for left, right in merges]
    return {token: index for index, token in enumerate(dict.fromkeys(tokens))}, merges


def _qwen3_tokenizer() -> transformers.PreTrainedTokenizerBase:
    vocabulary, merges = _qwen3_vocabulary()
    tokenizer = transformers.Qwen2Tokenizer(vocab=vocabulary, merges=list(merges))
    tokenizer.add_special_tokens({"additional_special_tokens": list(CHAT_TOKENS[1:])})
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
