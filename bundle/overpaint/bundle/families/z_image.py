"""Z-Image and Z-Image-Turbo: one stream of picture and caption, flow matching, Qwen3."""

from __future__ import annotations

from typing import Final

from overpaint.bundle.checkpoint.original_names.text import qwen3_source
from overpaint.bundle.checkpoint.original_names.z_image import z_image_source
from overpaint.bundle.checkpoint.tensors import InSingleFile
from overpaint.bundle.errors import CheckpointError
from overpaint.bundle.facts import Components, Config, Configs, Defaults, Latents, Text

from . import autoencoder, single_files
from .encoders import last_but_one_of_qwen3
from .family import Denoiser, Encoder, Family, called_turbo

LENGTH: Final = 512  # diffusers' max_sequence_length
PATCH: Final = 2
_TURBO_SHIFT: Final = 3.0


def _recognises(components: Components) -> bool:
    fields = {"cap_feat_dim", "all_patch_size", "axes_lens"}
    return fields <= set(components.get("transformer", {}))


def _few_steps(configs: Configs, name: str) -> bool:
    """Fine-tunes of Turbo keep its scheduler: Z-Image's own shifts levels by 6."""
    return called_turbo(configs, name) or configs.scheduler.get("shift") == _TURBO_SHIFT


def _text(configs: Configs) -> Text:
    return Text(encoders=(last_but_one_of_qwen3(configs, "text_encoder", LENGTH),))


def _latents(vae: Config, transformer: Config) -> Latents:
    if transformer.get("siglip_feat_dim"):
        raise CheckpointError(
            "the denoiser's config: siglip_feat_dim: a checkpoint that sees further pictures, as "
            "Z-Image-Omni, which cannot be used"
        )
    if (got := transformer.get("all_patch_size")) != [PATCH]:
        raise CheckpointError(
            f"the denoiser's config: all_patch_size: expected [{PATCH}], got {got!r}"
        )
    channels = {"in_channels": transformer.get("in_channels")}
    return autoencoder.latents(vae, {"patch_size": PATCH, **channels})


FAMILY: Final = Family(
    name="z-image",
    title="Z-Image",
    recognises=_recognises,
    denoiser=Denoiser(component="transformer", sample="hidden_states"),
    predictions=("flow",),
    encoders=(Encoder("text_encoder", "qwen3"),),
    latents=_latents,
    text=_text,
    # Its authors' guidance, which they count from 0: 4.
    defaults=Defaults(steps=50, guidance_scale=5.0, strength=0.6),
    turbo=Defaults(steps=8, guidance_scale=1.0, strength=0.6, distilled=True),
    is_turbo=_few_steps,
    single_file={
        "transformer": InSingleFile(single_files.DENOISER, lambda names: z_image_source, ""),
        "vae": single_files.VAE._replace(or_prefix="vae."),
        "text_encoder": single_files.fixed("text_encoders.qwen3_4b.transformer.", qwen3_source),
    },
    rounding="up",
    even_sigmas=True,
)
