"""A graph's weights, found among a checkpoint's tensors; what is missing, mismatched, left over."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from overpaint.bundle.graph.weights import Slot

from .safetensors import Stored
from .source import Source
from .tensors import Tensors

FLOATS: Final = ("F32", "F16", "BF16")
"""The dtypes that weights may be stored in."""

_IGNORED: Final = re.compile(
    r".*\bposition_ids|.*\b(logit_scale|attn_mask)|.*\bloss\..*|.*\bmodel_ema\..*"
    r"|.*\btext_projection(\.weight)?"  # where the pooled text is not projected
    r"|transformer\.resblocks\.23\..*|visual\..*|vision_model\..*"  # OpenCLIP's, which SD 2 leaves
    r"|shared\.weight|encoder\.embed_tokens\.weight"  # T5's one embedding under two names
    r"|(model\.)?norm\.weight|lm_head\.weight"  # a language model's, behind its last layer
    r"|norm_final\.weight"  # Z-Image's own, which its code does not call
    r"|bn\.num_batches_tracked"  # how long FLUX.2's VAE was watched
)
"""Tensors that checkpoints carry along and that no pipeline reads."""

_LAYER: Final = re.compile(r"(?:model\.)?layers\.(\d+)\.(?:self_attn|mlp|\w+_layernorm)\..*")
"""Of a language model."""


class Found(NamedTuple):
    """A weight: how it is made, from which stored tensors (one for each of its row ranges)."""

    source: Source
    stored: tuple[Stored, ...]


@dataclass(frozen=True, slots=True)
class Resolved:
    """The outcome for one component. `missing`, `mismatched` (in shape
    or dtype) and `unused` are empty where all is well."""

    found: Mapping[str, Found]
    missing: tuple[str, ...]
    mismatched: tuple[str, ...]
    unused: tuple[str, ...]

    @property
    def complete(self) -> bool:
        return not (self.missing or self.mismatched or self.unused)

    @property
    def wrong(self) -> int:
        return len(self.missing) + len(self.mismatched) + len(self.unused)


def resolve(wanted: Mapping[str, Slot], tensors: Tensors, *, layers: int = 0) -> Resolved:
    """Find every weight of `wanted` in `tensors`. `layers`: how many a language model has, of which
    the last ones are not read where the states before them are taken."""
    sources = tensors.naming(wanted)
    found: dict[str, Found] = {}
    missing, mismatched, used = [], [], set()
    for name, slot in wanted.items():
        for source in sources(name):
            names = [rows.name for rows in source.rows]
            if any(each not in tensors.stored for each in names):
                continue
            used.update(names)
            stored = tuple(tensors.stored[each] for each in names)
            if problem := _problem(name, slot, source, stored):
                mismatched.append(problem)
            found[name] = Found(source, stored)
            break
        else:
            missing.append(name)
    read = max((_layer(name) for name in used), default=-1)
    unread = (name for name in tensors.stored if name not in used)
    left = tuple(
        name
        for name in unread
        if not _IGNORED.fullmatch(name) and not -1 < read < _layer(name) < layers
    )
    return Resolved(found, tuple(missing), tuple(mismatched), left)


def _layer(name: str) -> int:
    """Which of a language model's layers a tensor is of, -1 where of none."""
    layer = _LAYER.fullmatch(name)
    return int(layer[1]) if layer else -1


def _problem(name: str, slot: Slot, source: Source, stored: tuple[Stored, ...]) -> str | None:
    """Why these tensors cannot be that weight."""
    if not stored:
        return None
    if stored[0].dtype not in FLOATS:
        return f"{stored[0].name} is stored as {stored[0].dtype}, not {', '.join(FLOATS)}"
    shape = stored[0].shape
    if source.transposed:
        shape = shape[::-1]
    rows = source.rows[0].of
    if rows > 1 and shape and shape[0] % rows == 0:
        shape = (shape[0] // rows * len(stored), *shape[1:])
    if _plain(shape) == _plain(slot.shape):
        return None
    return f"{stored[0].name} is {list(stored[0].shape)}, not {list(slot.shape)}"


def _plain(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without the kernel of a 1x1 convolution, which is a matrix."""
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    return shape
