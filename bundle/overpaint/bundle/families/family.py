"""What a checkpoint's configs say about it: its family, latents, prediction, text and defaults.

Plain dictionaries in (the JSON of a diffusers folder), parts of a manifest out, no torch: export,
import and the opening of optimum's folders all ask here.
"""

from __future__ import annotations

from typing import Final

from overpaint.bundle import layout
from overpaint.bundle.errors import CheckpointError
from overpaint.bundle.facts import (
    Config,
    Configs,
    Defaults,
    Facts,
    Family,
    Latents,
    Prediction,
    Text,
    TextEncoder,
)

CLIP_LENGTH: Final = 77
T5_LENGTH: Final = 256  # diffusers' max_sequence_length; the model takes up to 512


def facts_of(configs: Configs, name: str = "") -> Facts:
    """Read what a manifest needs from a checkpoint's configs.

    `name` is the checkpoint's: that it is distilled for few steps stands in no config, only there.

    Raises:
        CheckpointError: the family is unknown, or a config lacks what it must say.
    """
    family = family_of(configs)
    flow = family == "sd3"
    denoiser = configs.components["transformer" if flow else "unet"]
    try:
        return Facts(
            family=family,
            denoiser="transformer" if flow else "unet",
            latents=latents_of(configs.components["vae"], denoiser),
            prediction=prediction_of(configs.scheduler, family),
            text=text_of(configs, family),
            defaults=defaults_of(denoiser, family, name),
            guidance_embedding_width=denoiser.get("time_cond_proj_dim"),
        )
    except KeyError as error:
        raise CheckpointError(f"{name or 'checkpoint'}: its configs lack {error}") from None
    except (AttributeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{name or 'checkpoint'}: its configs are odd: {error}") from error


def family_of(configs: Configs) -> Family:
    """Tell the family by what is there: which denoiser, which text encoders, which projections.

    Raises:
        CheckpointError: it is none of those that overpaint runs.
    """
    present, kind = configs.components, configs.index.get("_class_name")
    if "transformer" in present:
        if "pooled_projection_dim" not in present["transformer"]:
            raise CheckpointError(f"{kind}: expected Stable Diffusion's MMDiT as the transformer")
        return "sd3"
    if "unet" not in present:
        raise CheckpointError(f"{kind}: expected a unet or a transformer among its components")
    channels = present["unet"].get("in_channels", 4)
    if channels != 4:
        raise CheckpointError(
            f"{kind}: expected a UNet of 4 input channels, got {channels}: "
            "an inpainting or editing checkpoint, which image-to-image cannot use"
        )
    if "text_encoder_2" in present:
        return "sdxl" if "text_encoder" in present else "sdxl-refiner"
    if "text_encoder" not in present:
        raise CheckpointError(f"{kind}: expected a text encoder among its components")
    # SD 2's transformers project with matrices where SD 1's use 1x1 convolutions.
    return "sd2" if present["unet"].get("use_linear_projection") else "sd1"


def latents_of(vae: Config, denoiser: Config) -> Latents:
    """An AutoencoderKL's scale; an MMDiT's patches make the picture's sides coarser."""
    downscale = 2 ** (len(vae["block_out_channels"]) - 1)
    mean, std = vae.get("latents_mean"), vae.get("latents_std")
    return Latents(
        channels=vae["latent_channels"],
        downscale=downscale,
        multiple=downscale * denoiser.get("patch_size", 1),
        scaling=vae.get("scaling_factor", 0.18215),
        shift=vae.get("shift_factor") or 0.0,
        mean=tuple(mean) if mean and std else None,
        std=tuple(std) if mean and std else None,
    )


def prediction_of(scheduler: Config, family: Family) -> Prediction:
    """What the denoiser was trained to predict.

    Raises:
        CheckpointError: the scheduler's config names something else.
    """
    if family == "sd3":
        return "flow"
    said = scheduler.get("prediction_type", "epsilon")
    known: tuple[Prediction, ...] = ("epsilon", "v_prediction", "sample")
    for prediction in known:
        if said == prediction:
            return prediction
    raise CheckpointError(
        f"{layout.SCHEDULER_CONFIG}: prediction_type: expected one of {known}, got {said!r}"
    )


def text_of(configs: Configs, family: Family) -> Text:
    """The text encoders in their order, and what each family does with them."""
    transformer = configs.components.get("transformer", {})
    index, sdxl = configs.index, family in ("sdxl", "sdxl-refiner")
    return Text(
        encoders=tuple(
            _encoder(name, tokenizer, configs, family)
            for name, tokenizer in zip(layout.TEXT_ENCODERS, layout.TOKENIZERS, strict=True)
            if name in configs.components
        ),
        zeros_for_absent_negative=sdxl and index.get("force_zeros_for_empty_prompt", True),
        aesthetic_score=sdxl and index.get("requires_aesthetics_score", False),
        t5_length=T5_LENGTH if family == "sd3" else None,
        t5_width=transformer.get("joint_attention_dim"),
    )


def defaults_of(denoiser: Config, family: Family, name: str) -> Defaults:
    """Those of diffusers' image-to-image pipelines; fewer steps where the checkpoint is distilled.

    SD 3's turbo gets strength 0.75: at 4 steps, any more starts from pure noise.
    """
    if denoiser.get("time_cond_proj_dim"):  # guidance embedded: a latent consistency model
        return Defaults(steps=4, guidance_scale=8.5, strength=0.8)
    if "turbo" in name.lower():
        return Defaults(steps=4, guidance_scale=1.0, strength=0.75 if family == "sd3" else 0.5)
    if family == "sd3":
        return Defaults(steps=50, guidance_scale=7.0, strength=0.6)
    if family in ("sdxl", "sdxl-refiner"):
        return Defaults(steps=50, guidance_scale=5.0, strength=0.3)
    return Defaults(steps=50, guidance_scale=7.5, strength=0.8)


def _encoder(name: str, tokenizer: str, configs: Configs, family: Family) -> TextEncoder:
    config = configs.components[name]
    if config.get("model_type") == "t5":
        return TextEncoder(
            component=name,
            tokenizer=tokenizer,
            kind="t5",
            length=T5_LENGTH,
            pad_token_id=configs.pad_token_ids[tokenizer],
            hidden="last_hidden_state",
        )
    if family in ("sd1", "sd2"):
        hidden, pooled = "last_hidden_state", None
    else:
        hidden = f"hidden_states.{config['num_hidden_layers'] - 1}"  # the last but one of n + 1
        joins = family == "sd3" or name == "text_encoder_2"
        pooled = "text_embeds" if joins else None
    return TextEncoder(
        component=name,
        tokenizer=tokenizer,
        kind="clip",
        length=min(CLIP_LENGTH, config.get("max_position_embeddings", CLIP_LENGTH)),
        pad_token_id=configs.pad_token_ids[tokenizer],
        hidden=hidden,
        pooled=pooled,
    )
