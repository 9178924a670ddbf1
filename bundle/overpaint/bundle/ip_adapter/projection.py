"""What makes an adapter's tokens of what an image encoder says of a picture, as a graph.

The weights keep the names that the adapter's file has for them. Base is one matrix and a norm;
plus is a Perceiver resampler (Alayrac et al. 2022, "Flamingo", section 3.1): learned queries that
attend to the picture and to themselves.
"""

from __future__ import annotations

from typing import Final

from overpaint.bundle import layout
from overpaint.bundle.format.manifest import Component
from overpaint.bundle.graph.build import Builder
from overpaint.bundle.tensor import DType, Range, Tensor

from .file import HEAD, PROJECTION, AdapterFile, Resampler

SEEN: Final = "seen"
MADE: Final = "tokens"
BATCH: Final = Range(minimum=1, maximum=32)


def projection(file: AdapterFile, sees: tuple[int, ...], compute: DType) -> tuple[bytes, Component]:
    """The template, and what a manifest says of it. `sees`: the shape, without the batch, of what
    the encoder gives."""
    seen = Tensor(name=SEEN, dtype="float32", shape=("batch", *sees))
    made = Tensor(name=MADE, dtype="float32", shape=("batch", file.tokens, file.width))
    graph = Builder(compute)
    x = graph.computed(SEEN)
    resampler = file.resampler
    graph.given(_plus(graph, file, resampler, x) if resampler else _base(graph, file, x), MADE)
    component = Component(
        graph=layout.graph_path(layout.IMAGE_PROJECTION),
        inputs=(seen,),
        outputs=(made,),
        ranges={"batch": BATCH},
        compute_dtype=compute,
    )
    return graph.model(layout.IMAGE_PROJECTION, (seen,), (made,)), component


def _base(graph: Builder, file: AdapterFile, x: str) -> str:
    shape = (file.tokens * file.width, file.sees)
    x = graph.linear(x, f"{PROJECTION}proj.weight", shape, f"{PROJECTION}proj.bias")
    x = graph.op("Reshape", x, graph.whole(-1, file.tokens, file.width))
    return graph.layer_norm(x, f"{PROJECTION}norm", file.width)


def _plus(graph: Builder, file: AdapterFile, resampler: Resampler, x: str) -> str:
    hidden = resampler.hidden
    x = _projected(graph, x, "proj_in", (hidden, file.sees))
    learned = graph.weight(f"{PROJECTION}latents", 1, file.tokens, hidden)
    batch = graph.op("Shape", x, start=0, end=1)
    queries = graph.op("Expand", learned, graph.op("Concat", batch, graph.whole(1, 1), axis=0))
    for layer in range(resampler.layers):
        queries = _layer(graph, resampler, x, queries, f"{PROJECTION}layers.{layer}.")
    made = _projected(graph, queries, "proj_out", (file.width, hidden))
    return graph.layer_norm(made, f"{PROJECTION}norm_out", file.width)


def _projected(graph: Builder, x: str, name: str, shape: tuple[int, int]) -> str:
    return graph.linear(x, f"{PROJECTION}{name}.weight", shape, f"{PROJECTION}{name}.bias")


def _layer(graph: Builder, sizes: Resampler, x: str, queries: str, name: str) -> str:
    hidden, inner, wide = sizes.hidden, sizes.inner, sizes.wide
    picture = graph.layer_norm(x, f"{name}0.norm1", hidden)
    own = graph.layer_norm(queries, f"{name}0.norm2", hidden)
    both = graph.op("Concat", picture, own, axis=1)
    asked = graph.linear(own, f"{name}0.to_q.weight", (inner, hidden))
    answers = graph.linear(both, f"{name}0.to_kv.weight", (2 * inner, hidden))
    last = graph.whole(2)
    key = graph.op("Slice", answers, graph.whole(0), graph.whole(inner), last)
    value = graph.op("Slice", answers, graph.whole(inner), graph.whole(2 * inner), last)
    seen = graph.attention(asked, key, value, inner // HEAD)
    queries = graph.op(
        "Add", graph.linear(seen, f"{name}0.to_out.weight", (hidden, inner)), queries
    )
    x = graph.layer_norm(queries, f"{name}1.0", hidden)
    x = graph.op("Gelu", graph.linear(x, f"{name}1.1.weight", (wide, hidden)))
    return graph.op("Add", graph.linear(x, f"{name}1.3.weight", (hidden, wide)), queries)
