"""diffusers' AutoencoderKL, as two graphs: pixels -> moments, and latents -> pixels."""

from __future__ import annotations

from torch import Tensor

from overpaint.bundle import layout
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


def _pixels(config: Config) -> Range:
    """The sides of pictures, in multiples of a latent cell's."""
    cell = int(2 ** (len(config["block_out_channels"]) - 1))
    return Range(minimum=cell, maximum=LATENT_SIDE * cell, multiple=cell)


def _smaller(config: Config) -> Config:
    levels = len(config["block_out_channels"])
    return {
        **config,
        "block_out_channels": CHANNELS[:levels],
        "norm_num_groups": NORM_GROUPS,
        "layers_per_block": 1,
    }
