"""An IP-Adapter's file, read: which kind it is, and its sizes. Weights stay where they lie.

`image_proj.*` makes tokens of what an image encoder says of a picture; `ip_adapter.{1,3,5,…}` are
a key's and a value's matrix for each cross-attention. Two kinds are known, by their projection:

    base   the encoder's pooled vector -> Linear -> 4 tokens -> LayerNorm
    plus   its last hidden state but one -> a resampler of 4 layers -> 16 tokens
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from overpaint.bundle.checkpoint.safetensors import Stored, read_header
from overpaint.bundle.errors import CheckpointError

Kind: TypeAlias = Literal["base", "plus"]

PROJECTION: Final = "image_proj."
BASE_TOKENS: Final = 4
HEAD: Final = 64
"""How wide a head of a resampler is, in every file that there is."""
_PAIR: Final = re.compile(r"ip_adapter\.(\d+)\.to_([kv])_ip\.weight")
_LAYER: Final = re.compile(r"image_proj\.layers\.(\d+)\.")
_FACE: Final = "a FaceID adapter, which needs a face recogniser"
_OTHERS: Final = (
    (re.compile(r"ip_adapter\.\d+\.to_q_lora\..*"), _FACE),
    (re.compile(r"image_proj\.perceiver_resampler\..*"), _FACE),
    (re.compile(r"image_proj\.proj\.2\..*"), _FACE),
    (re.compile(r"image_proj\.proj\.3\..*"), "a full-face adapter"),
)
"""Keys of adapters that are not run here; a full-face one has those of a FaceID's as well."""
_MEND: Final = "base and plus adapters are run here, such as ip-adapter_sd15.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resampler:
    """A plus adapter's sizes: of its queries, of its attention's heads together, of the widest
    layer, and how many layers there are."""

    hidden: int
    inner: int
    wide: int
    layers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterFile:
    """tokens: how many a picture becomes. width: how wide they are, the cross-attention's. sees:
    how wide what the encoder says of a picture is. resampler: a plus adapter's. pairs: the names of
    each cross-attention's key and value, in the file's order: those of the way down, of the way up,
    of the middle.
    """

    path: Path
    tensors: Mapping[str, Stored]
    pairs: tuple[tuple[str, str], ...]
    tokens: int
    width: int
    sees: int
    resampler: Resampler | None = None

    @property
    def kind(self) -> Kind:
        return "plus" if self.resampler else "base"


def read_adapter(path: Path) -> AdapterFile:
    """Read an adapter's file.

    Raises:
        CheckpointError: it is no safetensors file, no IP-Adapter, or one of another kind.
    """
    tensors = read_header(path)[0]
    for keys, what in reversed(_OTHERS):
        if any(keys.fullmatch(name) for name in tensors):
            raise CheckpointError(f"{path}: {what}; {_MEND}")
    if not is_adapter(tensors):
        raise CheckpointError(f"{path}: it has no ip_adapter.….to_k_ip.weight; {_MEND}")
    if f"{PROJECTION}proj.weight" in tensors:
        return _base(path, tensors)
    if f"{PROJECTION}latents" in tensors:
        return _plus(path, tensors)
    raise CheckpointError(f"{path}: it has no image_proj.proj and no image_proj.latents; {_MEND}")


def is_adapter(tensors: Mapping[str, Stored]) -> bool:
    """Whether these are an IP-Adapter's, of whatever kind."""
    return any(name.startswith("ip_adapter.") for name in tensors)


def _base(path: Path, tensors: Mapping[str, Stored]) -> AdapterFile:
    rows, sees = _matrix(path, tensors, "proj.weight")
    if rows % BASE_TOKENS:
        raise CheckpointError(f"{path}: image_proj.proj.weight has {rows} rows, not 4 tokens'")
    return AdapterFile(
        path=path,
        tensors=tensors,
        pairs=_pairs(path, tensors),
        tokens=BASE_TOKENS,
        width=rows // BASE_TOKENS,
        sees=sees,
    )


def _plus(path: Path, tensors: Mapping[str, Stored]) -> AdapterFile:
    shape = tensors[f"{PROJECTION}latents"].shape
    if len(shape) != 3:
        raise CheckpointError(
            f"{path}: expected image_proj.latents (1, tokens, width), got {shape}"
        )
    hidden, sees = _matrix(path, tensors, "proj_in.weight")
    inner, _ = _matrix(path, tensors, "layers.0.0.to_q.weight")
    wide, _ = _matrix(path, tensors, "layers.0.1.1.weight")
    width, _ = _matrix(path, tensors, "proj_out.weight")
    if inner % HEAD:
        raise CheckpointError(f"{path}: its resampler is {inner} wide, not heads of {HEAD}")
    layers = {match[1] for name in tensors if (match := _LAYER.match(name))}
    return AdapterFile(
        path=path,
        tensors=tensors,
        pairs=_pairs(path, tensors),
        tokens=shape[1],
        width=width,
        sees=sees,
        resampler=Resampler(hidden=hidden, inner=inner, wide=wide, layers=len(layers)),
    )


def _pairs(path: Path, tensors: Mapping[str, Stored]) -> tuple[tuple[str, str], ...]:
    found: dict[int, dict[str, str]] = {}
    for name in tensors:
        if match := _PAIR.fullmatch(name):
            found.setdefault(int(match[1]), {})[match[2]] = name
    if lone := [number for number, pair in found.items() if len(pair) < 2]:
        raise CheckpointError(f"{path}: ip_adapter.{lone[0]} lacks its key or its value")
    return tuple((found[number]["k"], found[number]["v"]) for number in sorted(found))


def _matrix(path: Path, tensors: Mapping[str, Stored], name: str) -> tuple[int, int]:
    name = f"{PROJECTION}{name}"
    if name not in tensors or len(tensors[name].shape) != 2:
        raise CheckpointError(f"{path}: expected a matrix {name!r}; is the download complete?")
    rows, columns = tensors[name].shape
    return rows, columns
