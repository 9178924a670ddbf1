"""diffusers' AutoencoderKL, as two graphs: pixels -> moments, and latents -> pixels.

AutoencoderKLFlux2's latents are as its pipelines have them: four cells as one, by the statistics of
its batch norm. Where their centre lies and how wide they are is then nobody else's concern; and of
its posterior the pipelines take the mean.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle

from overpaint.bundle import layout
from overpaint.bundle.errors import CheckpointError
from overpaint.bundle.tensor import DType, Range
from overpaint.export.part import (
    BATCH,
    LATENT_SIDE,
    Config,
    Part,
    Wrapper,
    float32,
    latent_ranges,
)

from .small import CHANNELS, NORM_GROUPS

_PATCH: Final = 2


class VaeEncoder(Wrapper):
    """The posterior: means and log-variances side by side, never a sample of it."""

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        moments = self.net.encoder(self.feed(tensors)["sample"])
        if self.net.quant_conv is not None:
            moments = self.net.quant_conv(moments)
        return (moments.float(),)


class VaeDecoder(Wrapper):
    """The decoder -> pixels."""

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        latents = self.feed(tensors)["latent_sample"]
        if self.net.post_quant_conv is not None:
            latents = self.net.post_quant_conv(latents)
        return (self.net.decoder(latents).float(),)


class PatchedVaeEncoder(Wrapper):
    """AutoencoderKLFlux2: pixels -> the posterior's mean, normalized."""

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        moments = self.net.encoder(self.feed(tensors)["sample"])
        if self.net.quant_conv is not None:
            moments = self.net.quant_conv(moments)
        patches = _patched(moments[:, : self.net.config.latent_channels]).float()
        mean, std = _statistics(self.net)
        return ((patches - mean) / std,)


class PatchedVaeDecoder(Wrapper):
    """AutoencoderKLFlux2: normalized latents -> pixels."""

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        mean, std = _statistics(self.net)
        patches = self.feed(tensors)["latent_sample"]
        latents = pixel_shuffle((patches.float() * std + mean).to(patches.dtype), _PATCH)
        if self.net.post_quant_conv is not None:
            latents = self.net.post_quant_conv(latents)
        return (self.net.decoder(latents).float(),)


def _patched(cells: Tensor) -> Tensor:
    """(batch, channels, h, w) -> (batch, channels * 4, h / 2, w / 2)."""
    channels = cells.shape[1]
    rows, columns = (side // _PATCH for side in cells.shape[2:])
    apart = cells.reshape(-1, channels, rows, _PATCH, columns, _PATCH)
    return apart.permute(0, 1, 3, 5, 2, 4).reshape(-1, channels * _PATCH**2, rows, columns)


def _statistics(net: Any) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel, (1, channels, 1, 1) float32."""
    mean, variance = (one.float()[None, :, None, None] for one in _running(net))
    return mean, torch.sqrt(variance + net.config.batch_norm_eps)


def _running(net: Any) -> tuple[Tensor, Tensor]:
    return net.bn.running_mean, net.bn.running_var


def vae_parts(class_name: str, config: Config, compute: DType) -> tuple[Part, Part]:
    """The encoder and the decoder of a VAE, by the class that it was saved from.

    Raises:
        CheckpointError: it is of no class that is known here.
    """
    if class_name == "AutoencoderKL":
        return vae_encoder_part(config, compute), vae_decoder_part(config, compute)
    if class_name == "AutoencoderKLFlux2":
        return _patched_encoder_part(config, compute), _patched_decoder_part(config, compute)
    raise CheckpointError(
        f"vae: expected AutoencoderKL or AutoencoderKLFlux2, got {class_name}; it is unknown here"
    )


def vae_encoder_part(config: Config, compute: DType) -> Part:
    """AutoencoderKL: pixels -> moments."""
    pixels = _pixels(config)
    moments = ("batch", 2 * config["latent_channels"], "latent_height", "latent_width")
    return Part(
        component=layout.VAE_ENCODER,
        source="vae",
        class_name="AutoencoderKL",
        config=config,
        inputs=(float32("sample", "batch", config["in_channels"], "height", "width"),),
        outputs=(float32("latent_parameters", *moments),),
        ranges={"batch": BATCH, "height": pixels, "width": pixels, **latent_ranges()},
        compute=compute,
        wrapper=VaeEncoder,
        reduced=lambda: vae_encoder_part(_smaller(config), compute),
    )


def vae_decoder_part(config: Config, compute: DType) -> Part:
    """AutoencoderKL: latents -> pixels."""
    pixels = _pixels(config)
    latents = ("batch", config["latent_channels"], "latent_height", "latent_width")
    return Part(
        component=layout.VAE_DECODER,
        source="vae",
        class_name="AutoencoderKL",
        config=config,
        inputs=(float32("latent_sample", *latents),),
        outputs=(float32("sample", "batch", config["out_channels"], "height", "width"),),
        ranges={"batch": BATCH, **latent_ranges(), "height": pixels, "width": pixels},
        compute=compute,
        wrapper=VaeDecoder,
        reduced=lambda: vae_decoder_part(_smaller(config), compute),
    )


def _patched_encoder_part(config: Config, compute: DType) -> Part:
    pixels, cells = _pixels(config, _PATCH), latent_ranges(LATENT_SIDE // _PATCH)
    return replace(
        vae_encoder_part(config, compute),
        class_name="AutoencoderKLFlux2",
        outputs=(float32("latents", *_patches(config)),),
        ranges={"batch": BATCH, "height": pixels, "width": pixels, **cells},
        wrapper=PatchedVaeEncoder,
        reduced=lambda: _patched_encoder_part(_smaller(config), compute),
    )


def _patched_decoder_part(config: Config, compute: DType) -> Part:
    pixels, cells = _pixels(config, _PATCH), latent_ranges(LATENT_SIDE // _PATCH)
    return replace(
        vae_decoder_part(config, compute),
        class_name="AutoencoderKLFlux2",
        inputs=(float32("latent_sample", *_patches(config)),),
        ranges={"batch": BATCH, **cells, "height": pixels, "width": pixels},
        wrapper=PatchedVaeDecoder,
        reduced=lambda: _patched_decoder_part(_smaller(config), compute),
    )


def _patches(config: Config) -> tuple[int | str, ...]:
    return "batch", _PATCH**2 * config["latent_channels"], "latent_height", "latent_width"


def _pixels(config: Config, patch: int = 1) -> Range:
    """The sides of pictures, in multiples of a latent cell's."""
    cell = int(2 ** (len(config["block_out_channels"]) - 1))
    return Range(minimum=patch * cell, maximum=LATENT_SIDE * cell, multiple=patch * cell)


def _smaller(config: Config) -> Config:
    levels = len(config["block_out_channels"])
    return {
        **config,
        "block_out_channels": CHANNELS[:levels],
        "norm_num_groups": NORM_GROUPS,
        "layers_per_block": 1,
    }
