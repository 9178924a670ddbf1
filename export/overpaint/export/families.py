"""What a checkpoint is, read from its configs: everything in a manifest that is not a graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from overpaint.engines import layout
from overpaint.engines.clip_tokenizer import read_pad_token
from overpaint.engines.errors import CheckpointError
from overpaint.engines.importing.checkpoint import Checkpoint
from overpaint.engines.json_file import read_json
from overpaint.engines.manifest import (
    Defaults,
    Family,
    Latents,
    Prediction,
    Text,
    TextEncoder,
)

from .parts import pooled_width, time_id_count, vae_downscale

T5_LENGTH: Final = 256

DEFAULTS: Final[dict[Family, Defaults]] = {
    "sd1": Defaults(steps=50, guidance_scale=7.5, strength=0.8),
    "sd2": Defaults(steps=50, guidance_scale=7.5, strength=0.8),
    "sdxl": Defaults(steps=50, guidance_scale=5.0, strength=0.3),
    "sdxl-refiner": Defaults(steps=50, guidance_scale=5.0, strength=0.3),
    "sd3": Defaults(steps=50, guidance_scale=7.0, strength=0.6),
}
"""Those of diffusers' own image-to-image pipelines."""

TURBO: Final = Defaults(steps=4, guidance_scale=1.0, strength=0.5)
"""Adversarially distilled: two of four steps, no guidance (stabilityai/sdxl-turbo's model card)."""

FLOW_TURBO: Final = Defaults(steps=4, guidance_scale=1.0, strength=0.75)
"""Above .75, a four-step flow schedule starts at σ = 1, where nothing of the picture is left."""

GUIDANCE_DISTILLED: Final = Defaults(steps=4, guidance_scale=8.5, strength=0.8)
"""Latent consistency models that take the guidance as an embedding (diffusers' LCM pipeline)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A manifest's fields of the same names."""

    family: Family
    prediction: Prediction
    latents: Latents
    text: Text
    defaults: Defaults
    guidance_embedding_width: int | None


def describe(checkpoint: Checkpoint) -> Description:
    """Recognise a checkpoint.

    Raises:
        CheckpointError: it is not Stable Diffusion 1, 2, XL or 3, or a variant whose denoiser
            takes more than latents and text (inpainting, upscaling, depth).
    """
    family = _family(checkpoint)
    scheduler = checkpoint.config("scheduler", "scheduler_config.json")
    denoiser = checkpoint.config(denoiser_of(family))
    return Description(
        family=family,
        prediction="flow" if family == "sd3" else scheduler.get("prediction_type", "epsilon"),
        latents=_latents(checkpoint.config("vae"), int(denoiser.get("patch_size") or 1)),
        text=_text(checkpoint, family, denoiser),
        defaults=_defaults(checkpoint, family, scheduler, denoiser),
        guidance_embedding_width=denoiser.get("time_cond_proj_dim"),
    )


def denoiser_of(family: Family) -> Any:
    """The component that predicts the noise."""
    return "transformer" if family == "sd3" else "unet"


def _family(checkpoint: Checkpoint) -> Family:
    pipeline = str(checkpoint.index.get("_class_name"))
    if checkpoint.has("transformer"):
        if checkpoint.class_name("transformer") == "SD3Transformer2DModel":
            return "sd3"
        raise _unknown(checkpoint, pipeline)
    if not checkpoint.has("unet") or not checkpoint.has("vae"):
        raise _unknown(checkpoint, pipeline)
    unet = checkpoint.config("unet")
    if unet["in_channels"] != checkpoint.config("vae")["latent_channels"]:
        raise CheckpointError(
            f"{checkpoint.name}: its UNet takes {unet['in_channels']} channels, more than latents "
            "have: an inpainting, upscaling or depth variant, which image-to-image cannot feed"
        )
    if unet.get("encoder_hid_dim_type") or unet.get("class_embed_type"):
        raise _unknown(checkpoint, pipeline)
    addition = unet.get("addition_embed_type")
    if addition == "text_time" and (pooled := pooled_width(checkpoint)) is not None:
        return "sdxl" if time_id_count(unet, pooled) == 6 else "sdxl-refiner"
    if addition is not None:
        raise _unknown(checkpoint, pipeline)
    return "sd2" if unet.get("use_linear_projection") else "sd1"


def _unknown(checkpoint: Checkpoint, pipeline: str) -> CheckpointError:
    return CheckpointError(
        f"{checkpoint.name}: expected a Stable Diffusion 1, 2, XL, 3 or 3.5 pipeline, "
        f"got {pipeline}"
    )


def _latents(vae: dict[str, Any], patch: int) -> Latents:
    downscale = vae_downscale(vae)
    mean, std = vae.get("latents_mean"), vae.get("latents_std")
    return Latents(
        channels=vae["latent_channels"],
        downscale=downscale,
        multiple=downscale * patch,
        scaling=vae.get("scaling_factor", 0.18215),
        shift=vae.get("shift_factor") or 0.0,
        mean=tuple(mean) if mean and std else None,
        std=tuple(std) if mean and std else None,
    )


def _text(checkpoint: Checkpoint, family: Family, denoiser: dict[str, Any]) -> Text:
    pairs = zip(layout.TEXT_ENCODERS, layout.TOKENIZERS, strict=True)
    encoders = tuple(
        _encoder(checkpoint, family, encoder, tokenizer)
        for encoder, tokenizer in pairs
        if checkpoint.has(encoder)
    )
    flow = family == "sd3"
    return Text(
        encoders=encoders,
        zeros_for_absent_negative=bool(checkpoint.index.get("force_zeros_for_empty_prompt")),
        aesthetic_score=family == "sdxl-refiner",
        t5_length=T5_LENGTH if flow else None,
        t5_width=denoiser["joint_attention_dim"] if flow else None,
    )


def _encoder(checkpoint: Checkpoint, family: Family, component: str, tokenizer: str) -> TextEncoder:
    config = checkpoint.config(component)
    folder = checkpoint.folder / tokenizer
    if checkpoint.class_name(component) == "T5EncoderModel":
        return TextEncoder(
            component=component,
            tokenizer=tokenizer,
            kind="t5",
            length=T5_LENGTH,
            pad_token_id=config.get("pad_token_id") or 0,
            hidden="last_hidden_state",
        )
    last = family in ("sd1", "sd2")
    projected = checkpoint.class_name(component) == "CLIPTextModelWithProjection"
    pooled = projected and (family == "sd3" or component == "text_encoder_2")
    return TextEncoder(
        component=component,
        tokenizer=tokenizer,
        kind="clip",
        length=config["max_position_embeddings"],
        pad_token_id=_token_id(folder, read_pad_token(folder)),
        # From SDXL on, the layer before the last, and without the final norm.
        hidden="last_hidden_state" if last else f"hidden_states.{config['num_hidden_layers'] - 1}",
        pooled="text_embeds" if pooled else None,
    )


def _token_id(folder: Any, token: str) -> int:
    if (folder / "vocab.json").is_file():
        vocabulary = read_json(folder / "vocab.json")
    else:
        vocabulary = read_json(folder / layout.TOKENIZER)["model"]["vocab"]
    if token not in vocabulary:
        raise CheckpointError(f"{folder}: its padding token {token!r} is not in its vocabulary")
    return int(vocabulary[token])


def _defaults(
    checkpoint: Checkpoint, family: Family, scheduler: dict[str, Any], denoiser: dict[str, Any]
) -> Defaults:
    if denoiser.get("time_cond_proj_dim"):
        return GUIDANCE_DISTILLED
    # Nothing in SD 3.5 Large Turbo's configs tells it from SD 3.5 Large; its name does.
    names = (checkpoint.name, str(checkpoint.index.get("_name_or_path")))
    if any("turbo" in name.lower() for name in names):
        return FLOW_TURBO if family == "sd3" else TURBO
    return DEFAULTS[family]
