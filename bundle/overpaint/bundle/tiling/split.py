"""A VAE's graph, cut at its group norms: between two of them nothing sees the whole picture.

A group norm's mean and variance are of all places at once; in tiles of their own they differ from
tile to tile, and so do the colours. So each part ends before a norm and the next one takes that
norm's statistics as an input, whose two columns are mean and variance. Whoever runs the parts takes
each over all tiles before the next, and statistics of what came out in between.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from overpaint.bundle.errors import BundleError
from overpaint.bundle.format.manifest import Component
from overpaint.bundle.graph import proto as onnx
from overpaint.bundle.graph.build import declared
from overpaint.bundle.graph.nodes import Node, constant, node, read_node
from overpaint.bundle.graph.proto import graph_of, with_graph
from overpaint.bundle.graph.tensors import StoredTensor, read_tensor
from overpaint.bundle.graph.wire import Field, message, read_fields, string
from overpaint.bundle.tensor import DType, Range, Tensor

STATISTICS: Final = "statistics:"
"""How the name of a part's input begins that has mean and variance, (1, groups, 2), of the norm
that it begins with; the name of the tensor that they are of follows."""
_MOST: Final = Range(minimum=1, maximum=1 << 20)
_ATTENTION: Final = "Attention"
_NORM: Final = "InstanceNormalization"
_EPSILON: Final = 1e-5
KEYS: Final = "keys:"
"""How the name of a part's input begins that is a tensor of the whole picture, for what attends to
all of it from a window; the tensor's name follows."""
_ONE: Final = struct.pack("<f", 1)


@dataclass(frozen=True, slots=True)
class Part:
    """A graph, and what a manifest says of it."""

    model: bytes
    component: Component


@dataclass(slots=True)
class _Cut:
    """A graph's nodes by what they make; `levels`: how many norms lie before each tensor that
    pictures flow through, which what is made of weights or of sizes alone has none of; `norms` by
    their levels, and the tensors that they are `of`."""

    fields: list[Field]
    stored: dict[str, StoredTensor]
    makers: dict[str, Node] = field(default_factory=dict)
    levels: dict[str, int] = field(default_factory=dict)
    norms: dict[int, Node] = field(default_factory=dict)
    of: dict[int, str] = field(default_factory=dict)


def split(model: bytes, component: Component, folder: str) -> list[Part]:
    """The parts of a VAE's graph, in the order they run; `folder` is where their graphs will lie,
    beside the model's. One part, the whole, where it has no such norms.

    A tensor that passes from part to part keeps its name. What attends sees all of the picture:
    its part has what it needs for that as inputs whose names begin with KEYS.

    Raises:
        BundleError: two norms stand beside each other, and not one behind the other.
    """
    [picture] = component.inputs
    cut = _read(model, picture.name)
    last = max(cut.norms, default=0)
    needed: list[dict[str, None]] = [{} for _ in range(last + 1)]
    [output] = component.outputs
    needed[last][output.name] = None
    built: list[tuple[list[Node], list[str]]] = []
    for level in range(last, -1, -1):
        inside, wanted = _inside(cut, level, needed[level])
        built.append((inside, wanted))
        for name in wanted:
            if name in cut.makers:
                needed[cut.levels[name]][name] = None
    parts = []
    for level, (inside, wanted) in enumerate(reversed(built)):
        parts.append(_part(model, component, cut, level, inside, wanted, list(needed[level])))
    return [
        Part(one.model, _at(one.component, f"{folder}/part{number:02d}.onnx"))
        for number, one in enumerate(parts)
    ]


def _at(component: Component, graph: str) -> Component:
    return Component(
        graph=graph,
        inputs=component.inputs,
        outputs=component.outputs,
        ranges=component.ranges,
        compute_dtype=component.compute_dtype,
    )


def _read(model: bytes, picture: str) -> _Cut:
    fields = list(read_fields(graph_of(model)))
    stored = (
        read_tensor(model, one.start, one.end)
        for one in fields
        if one.number == onnx.GRAPH_INITIALIZER
    )
    cut = _Cut(fields, {one.name: one for one in stored})
    found = [read_node(one, at) for at, one in enumerate(fields) if one.number == onnx.GRAPH_NODE]
    cut.makers = {one.output: one for one in found}
    normed = {one.output: _normed_tensor(one, cut.makers) for one in found if one.op == _NORM}
    beginning = {first for first, _ in normed.values()}
    cut.levels[picture] = 0
    for one in found:
        before = [cut.levels[name] for name in one.inputs if name in cut.levels]
        if not before or one.op == "Shape":
            continue
        level = max(before) + (one.output in beginning)
        if one.op == _NORM:
            if level in cut.norms or not _plain(model, one, cut.stored):
                raise BundleError("its norms are not one behind the other, of groups alone")
            cut.norms[level], cut.of[level] = one, normed[one.output][1]
        cut.levels[one.output] = level
    return cut


def _normed_tensor(norm: Node, makers: Mapping[str, Node]) -> tuple[str, str]:
    """Where what a norm is of is first laid out otherwise, for groups or for attention, and the
    tensor (1, channels, height, width) before that."""
    first = name = norm.input(0)
    while name in makers and makers[name].op in ("Reshape", "Transpose"):
        first, name = name, makers[name].input(0)
    return first, name


def _plain(model: bytes, norm: Node, stored: Mapping[str, StoredTensor]) -> bool:
    """Whether a norm scales by ones and adds zeros: the weight and bias of each channel follow."""
    scale, bias = (model[stored[name].content] for name in norm.inputs[1:3] if name in stored)
    return scale == _ONE * (len(scale) // 4) and bias == bytes(len(bias))


def _inside(cut: _Cut, level: int, outputs: Iterable[str]) -> tuple[list[Node], list[str]]:
    """The nodes that make `outputs` of what earlier parts give, in the graph's order, and the names
    of that."""
    nodes: dict[str, Node] = {}
    wanted: dict[str, None] = {}
    ahead = list(outputs)
    while ahead:
        name = ahead.pop()
        if name in nodes:
            continue
        if cut.levels.get(name, level) < level or (name in cut.levels and name not in cut.makers):
            wanted[name] = None
        elif name in cut.makers:
            nodes[name] = cut.makers[name]
            ahead += cut.makers[name].inputs
    return sorted(nodes.values(), key=lambda one: one.at), sorted(wanted)


def _part(
    model: bytes,
    whole: Component,
    cut: _Cut,
    level: int,
    inside: Sequence[Node],
    wanted: Sequence[str],
    made: Sequence[str],
) -> Part:
    norm = cut.norms.get(level)
    of = cut.of.get(level, "")
    dtype = whole.compute_dtype
    names = {one.name: one for one in (*whole.inputs, *whole.outputs)}
    sizes: dict[str, Range] = {"batch": Range(minimum=1, maximum=1)}

    def tensor(name: str, prefix: str = "") -> Tensor:
        if name in names and not prefix:
            known = names[name]
            sizes.update({s: whole.ranges[s] for s in known.shape if isinstance(s, str)})
            return known
        name = prefix + name
        sides = tuple(f"{name}.{side}" for side in ("channels", "height", "width"))
        sizes.update(dict.fromkeys(sides, _MOST))
        return Tensor(name=name, dtype=dtype, shape=("batch", *sides))

    nodes, inputs = list[bytes](), [tensor(name) for name in wanted]
    twins = _twins(inside, wanted)
    for one in inside:
        nodes += _normed(one, of, dtype) if one is norm else [_renamed(one, {}, twins)]
        if one.output in twins:
            twin = _renamed(one, twins, twins)
            nodes += _normed(one, of, dtype, KEYS) if one is norm else [twin]
    inputs += [tensor(name, KEYS) for name in wanted if name in twins]
    if norm is not None:
        groups = cut.stored[norm.input(1)].shape[0]
        inputs.append(Tensor(name=STATISTICS + of, dtype="float32", shape=(1, groups, 2)))
    outputs = [tensor(name) for name in made]
    read = {name for one in inside for name in one.inputs}
    weights = [
        cut.fields[at].raw
        for at, one in enumerate(cut.fields)
        if one.number == onnx.GRAPH_INITIALIZER
        and read_tensor(model, one.start, one.end).name in read
    ]
    fields = [
        *(_CONSTANTS if norm is not None else ()),
        *nodes,
        *weights,
        *(one.raw for one in cut.fields if one.number == onnx.GRAPH_NAME),
        *(declared(onnx.GRAPH_INPUT, one) for one in inputs),
        *(declared(onnx.GRAPH_OUTPUT, one) for one in outputs),
    ]
    return Part(
        with_graph(model, fields),
        Component(
            graph="",
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            ranges=sizes,
            compute_dtype=dtype,
        ),
    )


def _twins(inside: Sequence[Node], wanted: Sequence[str]) -> dict[str, str]:
    """Where a part attends, its keys and values are of the whole picture: what leads to them from
    `wanted`, the part's inputs, stands there twice. What the second of each tensor is called."""
    makers = {one.output: one for one in inside}
    flows = set(wanted)
    for one in inside:
        if any(name in flows for name in one.inputs):
            flows.add(one.output)
    found: dict[str, str] = {}
    ahead = [name for one in inside if one.op == _ATTENTION for name in one.inputs[1:3]]
    while ahead:
        name = ahead.pop()
        if name in flows and name not in found:
            found[name] = KEYS + name
            ahead += makers[name].inputs if name in makers else []
    return found


def _renamed(one: Node, names: Mapping[str, str], twins: Mapping[str, str]) -> bytes:
    """A node that reads and makes what `names` calls otherwise; an attention's keys and values are
    the `twins`."""
    inputs = [names.get(name, name) for name in one.inputs]
    if one.op == _ATTENTION:
        inputs[1:3] = (twins.get(name, name) for name in one.inputs[1:3])
    changed = (onnx.NODE_INPUT, onnx.NODE_OUTPUT, onnx.NODE_NAME)
    output = names.get(one.output, one.output)
    return message(
        onnx.GRAPH_NODE,
        *(string(onnx.NODE_INPUT, name) for name in inputs),
        string(onnx.NODE_OUTPUT, output),
        string(onnx.NODE_NAME, output),
        *(part.raw for part in one.fields if part.number not in changed),
    )


_BEGIN, _MIDDLE, _END, _AXIS = (f"statistics/{one}" for one in ("begin", "middle", "end", "axis"))
_CONSTANTS: Final = (
    constant(_BEGIN, [1], [0]),
    constant(_MIDDLE, [1], [1]),
    constant(_END, [1], [2]),
    constant(_AXIS, [1], [2]),
)


def _normed(norm: Node, of: str, dtype: DType, prefix: str = "") -> list[bytes]:
    """The norm of groups (1, groups, values), with the statistics that are given. The affine part
    comes after it in the graph. `prefix`: before the names of the second of its kind."""
    name, groups = prefix + norm.output, prefix + norm.input(0)
    epsilon = cast(float, norm.attributes.get("epsilon", _EPSILON))
    mean, variance, centred = f"{name}:mean", f"{name}:variance", f"{name}:centred"
    wide, made = (groups, name) if dtype == "float32" else (f"{name}:wide", f"{name}:made")
    statistics = STATISTICS + of
    found = [
        node("Slice", [statistics, _BEGIN, _MIDDLE, _AXIS], mean),
        node("Slice", [statistics, _MIDDLE, _END, _AXIS], variance),
        constant(f"{name}:epsilon", [1], [epsilon]),
        node("Add", [variance, f"{name}:epsilon"], f"{variance}:more"),
        node("Sqrt", [f"{variance}:more"], f"{name}:spread"),
        node("Sub", [wide, mean], centred),
        node("Div", [centred, f"{name}:spread"], made),
    ]
    if dtype == "float32":
        return found
    [number] = (number for number, one in onnx.FLOATS.items() if one == dtype)
    widened = node("Cast", [groups], wide, to=onnx.FLOAT)
    return [widened, *found, node("Cast", [made], name, to=number)]
