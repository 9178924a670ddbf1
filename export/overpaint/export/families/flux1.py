"""FLUX.1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from overpaint.bundle.tensor import DType
from overpaint.export.architectures import CLIP_L, ENDS, T5_XXL, Architecture, vae
from overpaint.export.family import Export
from overpaint.export.networks.flux import flux_part
from overpaint.export.part import Config, Part


def _release(like: str, *, guidance: bool, scheduler: Config) -> Architecture:
    return Architecture(
        like=like,
        pipeline="FluxPipeline",
        components={
            "transformer": ("diffusers", "FluxTransformer2DModel", {"guidance_embeds": guidance}),
            "vae": vae(
                1024,
                latent_channels=16,
                scaling_factor=0.3611,
                shift_factor=0.1159,
                force_upcast=True,
                use_quant_conv=False,
                use_post_quant_conv=False,
            ),
            "text_encoder": ("transformers", "CLIPTextModel", CLIP_L),
            "text_encoder_2": ("transformers", "T5EncoderModel", T5_XXL),
        },
        scheduler=(
            "FlowMatchEulerDiscreteScheduler",
            {"num_train_timesteps": 1000, "base_image_seq_len": 256, "max_image_seq_len": 4096}
            | {"base_shift": 0.5, "max_shift": 1.15}
            | scheduler,
        ),
        pads={"tokenizer": ENDS},
    )


def _denoiser(configs: Mapping[str, Config], compute: DType) -> Part:
    return flux_part(configs["transformer"], compute)


EXPORT: Final = Export(
    denoiser=_denoiser,
    architectures={
        "flux.1-dev": _release(
            "FLUX.1 dev", guidance=True, scheduler={"shift": 3.0, "use_dynamic_shifting": True}
        ),
        "flux.1-schnell": _release("FLUX.1 schnell", guidance=False, scheduler={"shift": 1.0}),
    },
)
