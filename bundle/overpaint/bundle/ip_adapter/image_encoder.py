"""CLIP's picture side as a graph, of whatever sizes: transformers' CLIPVisionModelWithProjection.

Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision"; the
vision transformer of Dosovitskiy et al. 2020 with a norm before its layers. The weights keep
transformers' names.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from overpaint.bundle import layout
from overpaint.bundle.errors import CheckpointError
from overpaint.bundle.facts import Config
from overpaint.bundle.families.config_fields import Width, read_fields
from overpaint.bundle.format.manifest import Component
from overpaint.bundle.graph.build import Builder
from overpaint.bundle.tensor import DType, Tensor

from .file import Kind
from .projection import BATCH

PIXELS: Final = "pixel_values"
POOLED: Final = "image_embeds"
_ACTIVATIONS: Final = ("gelu", "quick_gelu")
_CLASS: Final = "CLIPVisionModelWithProjection"


class VisionFields(msgspec.Struct, frozen=True):
    """What is read of its config.json."""

    hidden_size: Width
    intermediate_size: Width
    num_hidden_layers: Annotated[int, Meta(ge=2, le=1000)]
    num_attention_heads: Annotated[int, Meta(ge=1, le=1 << 12)]
    image_size: Annotated[int, Meta(ge=1, le=4096)] = 224
    patch_size: Annotated[int, Meta(ge=1, le=4096)] = 32
    projection_dim: Width = 512
    num_channels: int = 3
    hidden_act: str = "quick_gelu"
    layer_norm_eps: Annotated[float, Meta(gt=0, lt=1)] = 1e-5
    architectures: list[str] | None = None

    @property
    def positions(self) -> int:
        """Patches, and the one before them that stands for the whole picture."""
        return (self.image_size // self.patch_size) ** 2 + 1


def read_vision_config(config: Config, where: str) -> VisionFields:
    """Raises CheckpointError where it is no such encoder's."""
    classes = config.get("architectures") or [_CLASS]
    if classes != [_CLASS]:
        raise CheckpointError(f"{where}: expected {_CLASS}, got {classes}")
    fields = read_fields(config, VisionFields, where)
    if fields.hidden_act not in _ACTIVATIONS:
        known = " or ".join(_ACTIVATIONS)
        raise CheckpointError(f"{where}: hidden_act: expected {known}, got {fields.hidden_act!r}")
    if fields.num_channels != 3 or fields.hidden_size % fields.num_attention_heads:
        raise CheckpointError(f"{where}: expected 3 channels, and heads of equal width")
    return fields


def image_encoder(fields: VisionFields, kind: Kind, compute: DType) -> tuple[bytes, Component]:
    """The template, and what a manifest says of it. It gives what an adapter of `kind` sees: the
    pooled vector, or the last hidden state but one, after which nothing is computed."""
    width, side = fields.hidden_size, fields.image_size
    pixels = Tensor(name=PIXELS, dtype="float32", shape=("batch", 3, side, side))
    given = Tensor(
        name=POOLED if kind == "base" else f"hidden_states.{fields.num_hidden_layers - 1}",
        dtype="float32",
        shape=("batch", *seen(fields, kind)),
    )
    graph = Builder(compute)
    x = _embedded(graph, fields, graph.computed(PIXELS))
    x = graph.layer_norm(x, "vision_model.pre_layrnorm", width, fields.layer_norm_eps)
    for layer in range(fields.num_hidden_layers - (kind == "plus")):
        x = _layer(graph, fields, x, f"vision_model.encoder.layers.{layer}.")
    if kind == "base":
        whole = graph.op("Gather", x, graph.whole(0), axis=1)
        whole = graph.op("Squeeze", whole, graph.whole(1))
        whole = graph.layer_norm(whole, "vision_model.post_layernorm", width, fields.layer_norm_eps)
        x = graph.linear(whole, "visual_projection.weight", (fields.projection_dim, width))
    graph.given(x, given.name)
    component = Component(
        graph=layout.graph_path(layout.IMAGE_ENCODER),
        inputs=(pixels,),
        outputs=(given,),
        ranges={"batch": BATCH},
        compute_dtype=compute,
    )
    return graph.model(layout.IMAGE_ENCODER, (pixels,), (given,)), component


def seen(fields: VisionFields, kind: Kind) -> tuple[int, ...]:
    """The shape, without the batch, of what an adapter of `kind` sees."""
    return (fields.projection_dim,) if kind == "base" else (fields.positions, fields.hidden_size)


def _embedded(graph: Builder, fields: VisionFields, pixels: str) -> str:
    """Patches as a row of vectors, one for the whole picture before them, and where each is."""
    width, patch = fields.hidden_size, fields.patch_size
    name = "vision_model.embeddings."
    kernel = graph.weight(f"{name}patch_embedding.weight", width, 3, patch, patch)
    x = graph.op("Conv", pixels, kernel, kernel_shape=[patch, patch], strides=[patch, patch])
    x = graph.op("Reshape", x, graph.whole(0, width, -1))
    x = graph.op("Transpose", x, perm=[0, 2, 1])
    batch = graph.op("Shape", x, start=0, end=1)
    shape = graph.op("Concat", batch, graph.whole(1, width), axis=0)
    whole = graph.op("Expand", graph.weight(f"{name}class_embedding", width), shape)
    x = graph.op("Concat", whole, x, axis=1)
    return graph.op(
        "Add", x, graph.weight(f"{name}position_embedding.weight", fields.positions, width)
    )


def _layer(graph: Builder, fields: VisionFields, x: str, name: str) -> str:
    width, wide, epsilon = fields.hidden_size, fields.intermediate_size, fields.layer_norm_eps
    normed = graph.layer_norm(x, f"{name}layer_norm1", width, epsilon)
    query, key, value = (
        graph.linear(
            normed,
            f"{name}self_attn.{part}_proj.weight",
            (width, width),
            f"{name}self_attn.{part}_proj.bias",
        )
        for part in "qkv"
    )
    attended = graph.linear(
        graph.attention(query, key, value, fields.num_attention_heads),
        f"{name}self_attn.out_proj.weight",
        (width, width),
        f"{name}self_attn.out_proj.bias",
    )
    x = graph.op("Add", attended, x)
    normed = graph.layer_norm(x, f"{name}layer_norm2", width, epsilon)
    wider = graph.linear(normed, f"{name}mlp.fc1.weight", (wide, width), f"{name}mlp.fc1.bias")
    active = _activated(graph, fields.hidden_act, wider)
    return graph.op(
        "Add",
        graph.linear(active, f"{name}mlp.fc2.weight", (width, wide), f"{name}mlp.fc2.bias"),
        x,
    )


def _activated(graph: Builder, activation: str, x: str) -> str:
    if activation == "gelu":
        return graph.op("Gelu", x)
    return graph.op("Mul", x, graph.op("Sigmoid", graph.op("Mul", x, graph.number(1.702))))
