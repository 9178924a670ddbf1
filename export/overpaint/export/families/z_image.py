"""Z-Image and Z-Image-Turbo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from overpaint.bundle.tensor import DType
from overpaint.export.architectures import QWEN3_4B, Architecture, vae
from overpaint.export.family import Export
from overpaint.export.networks.single_stream import single_stream_part
from overpaint.export.part import Config, Part


def _flow(shift: float) -> tuple[str, Config]:
    return "FlowMatchEulerDiscreteScheduler", {"num_train_timesteps": 1000, "shift": shift}


_TURBO: Final = Architecture(
    like="Z-Image-Turbo",
    pipeline="ZImagePipeline",
    components={
        "transformer": ("diffusers", "ZImageTransformer2DModel", {"axes_lens": [1536, 512, 512]}),
        "vae": vae(
            1024,
            latent_channels=16,
            scaling_factor=0.3611,
            shift_factor=0.1159,
            force_upcast=True,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        "text_encoder": ("transformers", "Qwen3Model", QWEN3_4B),
    },
    scheduler=_flow(3.0),
    pads={},
    index={"_name_or_path": "Tongyi-MAI/Z-Image-Turbo"},
)


def _denoiser(configs: Mapping[str, Config], compute: DType) -> Part:
    return single_stream_part(configs["transformer"], compute)


EXPORT: Final = Export(
    denoiser=_denoiser,
    architectures={
        "z-image-turbo": _TURBO,
        "z-image": _TURBO.variant("Z-Image", _flow(6.0), _name_or_path="Tongyi-MAI/Z-Image"),
    },
)
