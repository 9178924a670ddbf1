"""The names of FLUX.2's tensors in single files, from those in diffusers' folders.

The original code (black-forest-labs/flux2) fuses query, key and value in double blocks, diffusers
not; in single ones both fuse all. Its VAE is Stable Diffusion's, with the convolutions between
moments and latents a part of the encoder and of the decoder.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from overpaint.bundle.checkpoint.source import Source, swapped_halves, third, whole

from .flux import DOUBLE_ATTENTION, DOUBLE_FUSED, of_block
from .vae import VaeNames

_OUTSIDE: Final = {
    "x_embedder": "img_in",
    "context_embedder": "txt_in",
    "time_guidance_embed.timestep_embedder.linear_1": "time_in.in_layer",
    "time_guidance_embed.timestep_embedder.linear_2": "time_in.out_layer",
    "double_stream_modulation_img.linear": "double_stream_modulation_img.lin",
    "double_stream_modulation_txt.linear": "double_stream_modulation_txt.lin",
    "single_stream_modulation.linear": "single_stream_modulation.lin",
    "proj_out": "final_layer.linear",
}
_DOUBLE: Final = {
    **DOUBLE_ATTENTION,
    "ff.linear_in": "img_mlp.0",
    "ff.linear_out": "img_mlp.2",
    "ff_context.linear_in": "txt_mlp.0",
    "ff_context.linear_out": "txt_mlp.2",
}
_SINGLE: Final = {
    "attn.to_qkv_mlp_proj": "linear1",
    "attn.to_out": "linear2",
    "attn.norm_q": "norm.query_norm",
    "attn.norm_k": "norm.key_norm",
}
_BLOCK: Final = re.compile(r"(single_)?transformer_blocks\.(\d+)\.(.+)\.weight")
_IN_HALF: Final = {"quant_conv": "encoder.quant_conv", "post_quant_conv": "decoder.post_quant_conv"}


def flux2_source(name: str) -> Source | None:
    """Where the tensor of the denoiser called `name` in diffusers lies in a single file."""
    stem = name.removesuffix(".weight")
    if stem in _OUTSIDE:
        return whole(f"{_OUTSIDE[stem]}.weight")
    if stem == "norm_out.linear":
        return swapped_halves("final_layer.adaLN_modulation.1.weight")
    block = _BLOCK.fullmatch(name)
    if block is None:
        return None
    number, module = block[2], block[3]
    if block[1]:
        return of_block(f"single_blocks.{number}", _SINGLE.get(module), "weight")
    if module in DOUBLE_FUSED:
        fused, part = DOUBLE_FUSED[module]
        return third(f"double_blocks.{number}.{fused}.weight", part)
    return of_block(f"double_blocks.{number}", _DOUBLE.get(module), "weight")


@dataclass(frozen=True, slots=True)
class Flux2VaeNames:
    """Stable Diffusion's VAE's, and the two that differ."""

    plain: VaeNames

    @classmethod
    def of(cls, names: Collection[str]) -> Flux2VaeNames:
        return cls(VaeNames.of(names))

    def source(self, name: str) -> Source | None:
        """Where the tensor of the VAE called `name` in diffusers lies in a single file."""
        stem, _, kind = name.rpartition(".")
        if stem in _IN_HALF:
            return whole(f"{_IN_HALF[stem]}.{kind}")
        return self.plain.source(name)
