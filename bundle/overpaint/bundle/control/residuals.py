"""A denoiser's graph with inputs for residuals: what a control network gives is added there.

In a UNet to each skip, where an up block joins it to what comes from below, and to what the middle
gives (Zhang et al. 2023, section 3.2); in an MMDiT to the picture's tokens behind each block. The
graphs are edited as they lie in a bundle: the places are found by how such networks are built, and
a graph that is built otherwise is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Final

import msgspec

from overpaint.bundle import layout
from overpaint.bundle.errors import BundleError, CheckpointError
from overpaint.bundle.facts import Config
from overpaint.bundle.families import config_fields
from overpaint.bundle.families.config_fields import Levels, Width
from overpaint.bundle.format.manifest import Component
from overpaint.bundle.graph import proto as onnx
from overpaint.bundle.graph.nodes import Node, node, nodes
from overpaint.bundle.graph.proto import graph_of, with_graph
from overpaint.bundle.graph.signature import written_input
from overpaint.bundle.graph.wire import Field, read_fields
from overpaint.bundle.tensor import Range, Tensor

MIDDLE: Final = f"{layout.RESIDUAL}middle"
PATCHES: Final = "patches"
_NUMBERS: Final = {dtype: number for number, dtype in onnx.FLOATS.items()}


class _UnetFields(msgspec.Struct, frozen=True):
    block_out_channels: Levels
    layers_per_block: Width = 2


class _TransformerFields(msgspec.Struct, frozen=True):
    num_layers: Width
    num_attention_heads: Width
    attention_head_dim: Width
    patch_size: Width = 2
    dual_attention_layers: tuple[int, ...] = ()


Shapes = Mapping[str, tuple[int | str, ...]]
"""Of residuals, by name, in the order of the network's skips or blocks."""


def with_residuals(model: bytes, component: Component, config: Config) -> tuple[bytes, Component]:
    """A denoiser's graph that takes residuals too, and what a manifest says of it. `config` is the
    denoiser's config.json.

    With zeros for residuals it computes what it did before. Raises BundleError where the graph is
    not built as its config says.
    """
    if any(one.name.startswith(layout.RESIDUAL) for one in component.inputs):
        raise BundleError("this denoiser takes residuals already")
    try:
        if "block_out_channels" in config:
            shapes, edits_of = unet_residuals(config), _unet_edits
        else:
            shapes, edits_of = _transformer_residuals(config), _transformer_edits
        fields = list(read_fields(graph_of(model)))
        edits = edits_of(fields, config, list(shapes), component)
    except CheckpointError as error:
        raise BundleError(str(error)) from None
    inputs = [Tensor(name=name, dtype="float32", shape=shape) for name, shape in shapes.items()]
    whole: list[bytes] = []
    for at, field in enumerate(fields):
        whole += edits.get(at, [field.raw])
    whole += [written_input(one) for one in inputs]
    extended = msgspec.structs.replace(
        component,
        inputs=(*component.inputs, *inputs),
        ranges=component.ranges | _ranges(component.ranges, shapes, config),
        parity=None,
    )
    return with_graph(model, whole), extended


def unet_residuals(config: Config) -> Shapes:
    """What a UNet's skips and its middle are: the first convolution's, then each level's layers'
    and its downsampler's.

    Raises:
        CheckpointError: the config lacks or garbles what is needed.
    """
    read = config_fields.read_fields(config, _UnetFields, "the denoiser's config")
    widths, last = read.block_out_channels, len(read.block_out_channels) - 1
    found = [(widths[0], 0)]
    for level, width in enumerate(widths):
        found += [(width, level)] * read.layers_per_block
        found += [(width, level + 1)] if level < last else []
    shapes: dict[str, tuple[int | str, ...]] = {
        f"{layout.RESIDUAL}{at}": ("batch", width, *level_sides(level))
        for at, (width, level) in enumerate(found)
    }
    return shapes | {MIDDLE: ("batch", widths[-1], *level_sides(last))}


def level_sides(level: int) -> tuple[str, str]:
    """What the sides are called of a UNet's level, each half of the one above, rounded up."""
    under = f"_{2**level}" if level else ""
    return f"latent_height{under}", f"latent_width{under}"


def level_ranges(sides: Mapping[str, Range], levels: int) -> dict[str, Range]:
    """The sides of a UNet's levels, where those of its latents are `sides`."""
    return {
        name: Range(
            minimum=ceil(sides[above].minimum / 2**level),
            maximum=ceil(sides[above].maximum / 2**level),
        )
        for level in range(1, levels)
        for name, above in zip(level_sides(level), level_sides(0), strict=True)
    }


def sizes_of(height: int, width: int, patch: int) -> dict[str, int]:
    """How large the residuals' sides are, by name, for latents of so many cells; `patch`: how many
    a side one of an MMDiT's tokens has."""
    found = {PATCHES: height // patch * (width // patch)}
    for level in range(10):
        sides = -(-height // 2**level), -(-width // 2**level)
        found |= zip(level_sides(level), sides, strict=True)
    return found


def _transformer_residuals(config: Config) -> Shapes:
    """The tokens behind every block but the last, behind which comes the text's end."""
    read = config_fields.read_fields(config, _TransformerFields, "the denoiser's config")
    width = read.num_attention_heads * read.attention_head_dim
    return {
        f"{layout.RESIDUAL}{block}": ("batch", PATCHES, width)
        for block in range(read.num_layers - 1)
    }


def _ranges(sides: Mapping[str, Range], shapes: Shapes, config: Config) -> dict[str, Range]:
    """Of the sizes that the residuals bring."""
    if MIDDLE in shapes:
        return level_ranges(sides, len(config["block_out_channels"]))
    patch = config.get("patch_size", 2)
    height, width = (sides[name] for name in level_sides(0))
    return {
        PATCHES: Range(
            minimum=height.minimum // patch * (width.minimum // patch),
            maximum=height.maximum // patch * (width.maximum // patch),
        )
    }


def _unet_edits(
    fields: list[Field], config: Config, names: list[str], component: Component
) -> dict[int, list[bytes]]:
    """An up block joins what comes from below to a skip, the last skip first."""
    joins = [
        one for one in nodes(fields, "Concat") if one.has({"axis": 1}) and len(one.inputs) == 2
    ]
    *skips, middle = names
    _check_count(len(joins), len(skips), "skips")
    edits: dict[int, list[bytes]] = {}
    for join, name in zip(joins, reversed(skips), strict=True):
        below, skip = join.inputs
        made: list[bytes] = []
        if not edits:
            below, made = _added(below, middle, component)
        skip, more = _added(skip, name, component)
        edits[join.at] = [*made, *more, join.reading([below, skip])]
    return edits


def _transformer_edits(
    fields: list[Field], config: Config, names: list[str], component: Component
) -> dict[int, list[bytes]]:
    """The picture's tokens pass the blocks as a chain of sums, which is followed from its end: the
    last norm. A block adds its attention, a second one where it has two, and its MLP."""
    read = config_fields.read_fields(config, _TransformerFields, "the denoiser's config")
    sums = {one.output: one for one in nodes(fields, "Add")}
    norms = list(nodes(fields, "LayerNormalization"))
    chain: list[Node] = []
    tokens = norms[-1].input(0) if norms else ""
    while tokens in sums:
        chain.append(sums[tokens])
        tokens = sums[tokens].input(0)
    chain.reverse()  # the first is the positions' sum
    each = [2 + (block in read.dual_attention_layers) for block in range(read.num_layers)]
    _check_count(len(chain), 1 + sum(each), "sums")
    edits: dict[int, list[bytes]] = {}
    at = 0
    for name, count in zip(names, each, strict=False):
        at += count
        end = chain[at]
        _, made = _added(f"{end.output}:plain", name, component, end.output)
        edits[end.at] = [end.making(f"{end.output}:plain"), *made]
    return edits


def _check_count(found: int, wanted: int, what: str) -> None:
    if found != wanted:
        raise BundleError(
            f"expected {wanted} {what} in the denoiser's graph, as its config says, got {found}; "
            "it is built otherwise, and cannot be controlled"
        )


def _added(
    to: str, residual: str, component: Component, called: str | None = None
) -> tuple[str, list[bytes]]:
    """The name of a tensor with a residual added, and the nodes that make it."""
    called = called or f"{to}:{residual}"
    if component.compute_dtype == "float32":
        return called, [node("Add", [to, residual], called)]
    cast = f"{residual}:cast"
    return called, [
        node("Cast", [residual], cast, to=_NUMBERS[component.compute_dtype]),
        node("Add", [to, cast], called),
    ]
