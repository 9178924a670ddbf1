"""A tiny autoencoder's two graphs, written from its layers.

They speak as a bundle's own VAE does: pixels in [-1, 1], and latents before a pipeline scales them,
though a tiny one has them scaled already. So whoever runs the one runs the other.

Source: Ollin Boer Bohan, TAESD (github.com/madebyollin/taesd); diffusers' EncoderTiny, DecoderTiny.
"""

from __future__ import annotations

from typing import Final

from overpaint.bundle import layout
from overpaint.bundle.facts import Latents
from overpaint.bundle.format.manifest import Component
from overpaint.bundle.graph.build import Builder
from overpaint.bundle.tensor import DType, Range, Tensor

from .file import Layer, TinyVae

PIXELS: Final = "sample"
LATENTS: Final = "latent_sample"
"""What an own VAE's graphs call both."""
_CLAMP: Final = 3.0
"""Latents are held softly to ±3: tanh(z/3)·3."""
_BATCH: Final = Range(minimum=1, maximum=32)
_CELLS: Final = 512


def encoder(vae: TinyVae, latents: Latents, compute: DType) -> tuple[bytes, Component]:
    """Pixels (B,3,H,W) -> latents (B,C,h,w) of no width, the template and its manifest's entry."""
    graph = Builder(compute)
    x = graph.computed(PIXELS)
    x = graph.op("Div", graph.op("Add", x, graph.number(1.0)), graph.number(2.0))
    x = _chain(graph, vae.encoder, x)
    x = graph.op("Add", graph.op("Div", x, _factor(graph, latents)), _offset(graph, latents))
    return _made(graph, layout.TINY_VAE_ENCODER, vae, x, _pixels(PIXELS), _cells(vae, LATENTS))


def decoder(vae: TinyVae, latents: Latents, compute: DType) -> tuple[bytes, Component]:
    """Latents (B,C,h,w) -> pixels (B,3,H,W), likewise."""
    graph = Builder(compute)
    x = graph.computed(LATENTS)
    x = graph.op("Mul", graph.op("Sub", x, _offset(graph, latents)), _factor(graph, latents))
    most = graph.number(_CLAMP)
    x = graph.op("Mul", graph.op("Tanh", graph.op("Div", x, most)), most)
    x = _chain(graph, vae.decoder, x)
    x = graph.op("Sub", graph.op("Mul", x, graph.number(2.0)), graph.number(1.0))
    return _made(graph, layout.TINY_VAE_DECODER, vae, x, _cells(vae, LATENTS), _pixels(PIXELS))


def _chain(graph: Builder, layers: tuple[Layer, ...], x: str) -> str:
    for layer in layers:
        match layer.kind:
            case "convolution":
                # Of a chain's convolutions, those without a bias change the sides: on the way down
                # by a stride, on the way up behind an upsampling.
                down = layer.name.startswith("encoder") and not layer.bias
                x = _convolution(graph, x, layer.name, layer, stride=2 if down else 1)
            case "block":
                x = _block(graph, x, layer)
            case "activation":
                x = graph.op("Relu", x)
            case "upsampling":
                x = _doubled(graph, x)
    return x


def _block(graph: Builder, x: str, layer: Layer) -> str:
    """Three convolutions beside what they are added to."""
    name, inner = f"{layer.name}.conv", Layer("convolution", "", layer.width, layer.width)
    made = _convolution(graph, x, f"{name}.0", layer)
    made = _convolution(graph, graph.op("Relu", made), f"{name}.2", inner)
    made = _convolution(graph, graph.op("Relu", made), f"{name}.4", inner)
    if layer.skip:
        weight = graph.weight(f"{layer.name}.skip.weight", layer.width, layer.reads, 1, 1)
        x = graph.op("Conv", x, weight, kernel_shape=[1, 1])
    return graph.op("Relu", graph.op("Add", made, x))


def _convolution(graph: Builder, x: str, name: str, layer: Layer, *, stride: int = 1) -> str:
    weights = [graph.weight(f"{name}.weight", layer.width, layer.reads, 3, 3)]
    if layer.bias:
        weights.append(graph.weight(f"{name}.bias", layer.width))
    return graph.op(
        "Conv", x, *weights, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[stride, stride]
    )


def _doubled(graph: Builder, x: str) -> str:
    """Each cell four times."""
    scales = graph.numbers((4,), (1.0, 1.0, 2.0, 2.0))
    return graph.op(
        "Resize",
        x,
        "",
        scales,
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def _factor(graph: Builder, latents: Latents) -> str:
    """What a pipeline multiplies an own VAE's latents by: a number, or one for each channel."""
    if latents.std is None:
        return graph.number(latents.scaling)
    return _each(graph, [latents.scaling / one for one in latents.std])


def _offset(graph: Builder, latents: Latents) -> str:
    """What it takes from them before."""
    if latents.mean is None:
        return graph.number(latents.shift)
    return _each(graph, list(latents.mean))


def _each(graph: Builder, values: list[float]) -> str:
    return graph.computed(graph.numbers((1, len(values), 1, 1), tuple(values)))


def _pixels(name: str) -> Tensor:
    return Tensor(name=name, dtype="float32", shape=("batch", 3, "height", "width"))


def _cells(vae: TinyVae, name: str) -> Tensor:
    sides = ("latent_height", "latent_width")
    return Tensor(name=name, dtype="float32", shape=("batch", vae.latents, *sides))


def _made(
    graph: Builder, name: str, vae: TinyVae, x: str, takes: Tensor, gives: Tensor
) -> tuple[bytes, Component]:
    graph.given(x, gives.name)
    cell = vae.downscale
    pixels = Range(minimum=cell, maximum=_CELLS * cell, multiple=cell)
    cells = Range(minimum=1, maximum=_CELLS)
    component = Component(
        graph=layout.graph_path(name),
        inputs=(takes,),
        outputs=(gives,),
        ranges={
            "batch": _BATCH,
            "height": pixels,
            "width": pixels,
            "latent_height": cells,
            "latent_width": cells,
        },
        compute_dtype=graph.compute,
    )
    return graph.model(name, (takes,), (gives,)), component
