"""FLUX.2 klein, distilled and not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from overpaint.bundle.tensor import DType
from overpaint.export.architectures import QWEN3_4B, Architecture
from overpaint.export.family import Export
from overpaint.export.networks.flux2 import flux2_part
from overpaint.export.part import Config, Part

_TRANSFORMER: Final[Config] = {
    "num_layers": 5,
    "num_single_layers": 20,
    "num_attention_heads": 24,
    "joint_attention_dim": 7680,
    "guidance_embeds": False,
}
_SCHEDULER: Final[Config] = {
    "num_train_timesteps": 1000,
    "shift": 3.0,
    "use_dynamic_shifting": True,
}
_KLEIN: Final = Architecture(
    like="FLUX.2 klein 4B",
    pipeline="Flux2KleinPipeline",
    components={
        "transformer": ("diffusers", "Flux2Transformer2DModel", _TRANSFORMER),
        "vae": ("diffusers", "AutoencoderKLFlux2", {}),
        "text_encoder": ("transformers", "Qwen3ForCausalLM", QWEN3_4B),
    },
    scheduler=("FlowMatchEulerDiscreteScheduler", _SCHEDULER),
    pads={},
    index={"is_distilled": True},
)


def _denoiser(configs: Mapping[str, Config], compute: DType) -> Part:
    return flux2_part(configs["transformer"], compute)


EXPORT: Final = Export(
    denoiser=_denoiser,
    architectures={
        "flux.2-klein-4b": _KLEIN,
        "flux.2-klein-base-4b": replace(
            _KLEIN, like="FLUX.2 klein base 4B", index={"is_distilled": False}
        ),
    },
)
