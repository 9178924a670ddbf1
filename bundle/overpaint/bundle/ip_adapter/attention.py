"""A UNet's graph in which every cross-attention sees an adapter's tokens beside the text.

    out = Attention(q, k, v) + sum over the pictures of scale · Attention(q, k_ip, v_ip)

An attention is found by the weights behind its inputs: `to_q` and `to_k` of one module, of which
there is one that reads the text (`attn2`). What a scale is of, and why each level of the UNet has
its own, is said in `inputs`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from overpaint.bundle.errors import CheckpointError
from overpaint.bundle.graph import proto as onnx
from overpaint.bundle.graph.build import Builder, declared
from overpaint.bundle.graph.nodes import Node, read_node
from overpaint.bundle.graph.proto import graph_of, with_graph
from overpaint.bundle.graph.weights import slots
from overpaint.bundle.graph.wire import read_fields
from overpaint.bundle.tensor import DType

from .inputs import TOKENS, scale_input, tokens_input

_KEY: Final = re.compile(r"((down_blocks|up_blocks|mid_block)\b.*\.attn2)\.to_k\.weight")
_PARTS: Final = ("down_blocks", "up_blocks", "mid_block")
"""In the order in which diffusers, and so an adapter's file, counts them."""
_NUMBER: Final = re.compile(r"\d+")
_COMPUTE: Final[dict[str, DType]] = {"F32": "float32", "F16": "float16"}
_PASSED: Final = ("Add", "Cast", "Identity", "Mul", "Reshape", "Transpose")
"""What may stand between a projection and its attention; a LoRA's branch is added there."""
_HEAD: Final = "ip_adapter/"


@dataclass(frozen=True, slots=True)
class Place:
    """A cross-attention: its module's name, the level of the UNet that it is on, how wide its keys
    are, and what they are made of."""

    module: str
    level: int
    inner: int
    width: int


def places(template: bytes) -> list[Place]:
    """The cross-attentions of a UNet's graph, in the order in which adapters count them."""
    wanted = slots(template)
    levels = {int(name.split(".")[1]) for name in wanted if name.startswith("down_blocks.")}
    found = [
        Place(match[1], _level(match[1], len(levels)), *slot.shape)
        for name, slot in wanted.items()
        if (match := _KEY.fullmatch(name)) and len(slot.shape) == 2
    ]
    return sorted(found, key=lambda place: _counted(place.module))


def with_adapter(template: bytes, pairs: Sequence[tuple[str, str]]) -> bytes:
    """The template, taking an adapter's tokens and scales, and asking for its matrices by the
    names in `pairs`: a key's and a value's for each of `places`.

    Raises:
        CheckpointError: an attention is not where its weights say.
    """
    where = places(template)
    graph = list(read_fields(graph_of(template)))
    attentions = _attentions(
        [read_node(one, at) for at, one in enumerate(graph) if one.number == onnx.GRAPH_NODE]
    )
    built = Builder(_compute(template, where), _HEAD)
    tokens = _flat_tokens(built, where[0].width)
    levels = sorted({place.level for place in where})
    scales = {level: _scale(built, level) for level in levels}
    head = built.nodes
    replaced: dict[int, list[bytes]] = {}
    for place, pair in zip(where, pairs, strict=True):
        attention = attentions.get(place.module)
        if attention is None:
            raise CheckpointError(
                f"the denoiser's graph has no attention between {place.module}.to_k and its "
                "output that an adapter's could be added to; make the bundle anew with overpaint "
                "export or import"
            )
        built.nodes, built.prefix = [], f"{_HEAD}{place.module}/"
        seen = _seen(built, place, attention, tokens, scales[place.level], pair)
        text = f"{built.prefix}text"
        built.op("Add", text, seen, output=attention.output)
        replaced[attention.at] = [attention.making(text), *built.nodes]
    fields = [raw for at, one in enumerate(graph) for raw in replaced.get(at, [one.raw])]
    inputs = [tokens_input(where[0].width), *map(scale_input, levels)]
    taken = [declared(onnx.GRAPH_INPUT, tensor) for tensor in inputs]
    return with_graph(template, [*head, *fields, *built.tensors.values(), *taken])


@dataclass(frozen=True, slots=True)
class _Tokens:
    """All pictures' tokens in one row of batches, and how many pictures there are."""

    flat: str
    pictures: str


def _flat_tokens(graph: Builder, width: int) -> _Tokens:
    """(batch, pictures, tokens, width) as (batch · pictures, tokens, width)."""
    length = graph.op("Shape", TOKENS, start=2, end=3)
    shape = graph.op("Concat", graph.whole(-1), length, graph.whole(width), axis=0)
    flat = graph.op("Reshape", graph.computed(TOKENS), shape)
    return _Tokens(flat, graph.op("Shape", TOKENS, start=1, end=2))


def _scale(graph: Builder, level: int) -> str:
    """(pictures, cells) as (pictures, cells, 1)."""
    return graph.op("Unsqueeze", graph.computed(scale_input(level).name), graph.whole(2))


def _seen(
    graph: Builder,
    place: Place,
    attention: Node,
    tokens: _Tokens,
    scale: str,
    pair: tuple[str, str],
) -> str:
    """What the pictures add to one attention, (batch, cells, inner)."""
    key, value = (graph.linear(tokens.flat, name, (place.inner, place.width)) for name in pair)
    one, rest, inner = graph.whole(1), graph.whole(-1), graph.whole(place.inner)
    asked = attention.input(0)
    cells = graph.op("Shape", asked, start=1, end=2)
    times = graph.op("Concat", one, tokens.pictures, one, one, axis=0)
    asked = graph.op("Expand", graph.op("Unsqueeze", asked, one), times)
    asked = graph.op("Reshape", asked, graph.op("Concat", rest, cells, inner, axis=0))
    heads = attention.attributes["q_num_heads"]
    assert isinstance(heads, int)
    answers = graph.attention(asked, key, value, heads)
    shape = graph.op("Concat", rest, tokens.pictures, cells, inner, axis=0)
    each = graph.op("Mul", graph.op("Reshape", answers, shape), scale)
    return graph.op("ReduceSum", each, one, keepdims=0)


def _attentions(nodes: Sequence[Node]) -> dict[str, Node]:
    """The attentions of three axes by their module, for those whose query and key are projected
    with `to_q` and `to_k` of one."""
    by_output = {one.output: one for one in nodes}
    found = {}
    for one in nodes:
        if one.op != "Attention" or not isinstance(one.attributes.get("q_num_heads"), int):
            continue
        queries, keys = (
            {
                name.removesuffix(end)
                for name in _projections(one.input(at), by_output)
                if name.endswith(end)
            }
            for at, end in ((0, ".to_q.weight"), (1, ".to_k.weight"))
        )
        for module in queries & keys:
            found[module] = one
    return found


def _projections(name: str, by_output: Mapping[str, Node]) -> Iterator[str]:
    """The matrices of the nearest products behind a tensor."""
    waiting = [name]
    while waiting:
        made = by_output.get(waiting.pop())
        if made is None:
            continue
        if made.op == "MatMul":
            yield _weight(made.input(1), by_output)
        elif made.op in _PASSED:
            waiting += made.inputs


def _weight(name: str, by_output: Mapping[str, Node]) -> str:
    """What a tensor was before it was turned over or cast."""
    while (made := by_output.get(name)) is not None and made.op in ("Transpose", "Cast"):
        name = made.input(0)
    return name


def _compute(template: bytes, where: Sequence[Place]) -> DType:
    wanted = slots(template)
    return _COMPUTE[wanted[f"{where[0].module}.to_k.weight"].dtype]


def _level(module: str, levels: int) -> int:
    part, number = module.split(".")[:2]
    if part == "mid_block":
        return levels - 1
    return int(number) if part == "down_blocks" else levels - 1 - int(number)


def _counted(module: str) -> tuple[int, ...]:
    part = module.split(".", 1)[0]
    return (_PARTS.index(part), *map(int, _NUMBER.findall(module)))
