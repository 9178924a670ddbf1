"""A tiny autoencoder's file, read: its layers, by the names and shapes of their weights.

diffusers' AutoencoderTiny is two chains of layers, `encoder.layers.N` and `decoder.layers.N`. The
original code (madebyollin/taesd) has each in a file of its own, `taesd_encoder.safetensors` and
`taesd_decoder.safetensors`, without the prefix; its decoder begins with the clamp, which diffusers
does not count.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from overpaint.bundle import layout
from overpaint.bundle.checkpoint.folder import Checkpoint
from overpaint.bundle.checkpoint.safetensors import Stored, read_header
from overpaint.bundle.errors import CheckpointError
from overpaint.bundle.files.json import read_json
from overpaint.bundle.files.looking import is_file, is_folder

Half: TypeAlias = Literal["encoder", "decoder"]
HALVES: Final[tuple[Half, ...]] = ("encoder", "decoder")
Kind: TypeAlias = Literal["convolution", "block", "activation", "upsampling"]

_LAYER: Final = re.compile(r"(encoder|decoder)\.layers\.(\d+)\.(weight|conv\.0\.weight)")
_ORIGINAL: Final = re.compile(r"(\d+)(\..+)")
_CLAMP: Final = 1
"""Layers that the original decoder has before diffusers' first."""
CLASS: Final = "AutoencoderTiny"
_EXPECTED: Final[Mapping[str, Any]] = {
    "act_fn": "relu",
    "upsample_fn": "nearest",
    "upsampling_scaling_factor": 2,
    "scaling_factor": 1.0,
    "shift_factor": 0.0,
}
"""What a folder's config may say; the weights say the rest."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of a chain: `name` begins its weights' names, `width` is what a convolution or a
    block gives, `reads` what it takes. bias, skip: whether a convolution has the one, a block a
    convolution beside it."""

    kind: Kind
    name: str = ""
    reads: int = 0
    width: int = 0
    bias: bool = True
    skip: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyVae:
    """latents: how many channels they have. downscale: pixels a side of a latent cell."""

    name: str
    tensors: Mapping[str, Stored]
    encoder: tuple[Layer, ...]
    decoder: tuple[Layer, ...]
    latents: int
    downscale: int
    files: tuple[Path, ...]


def read_tiny_vae(source: Path) -> TinyVae:
    """Read a diffusers folder, a `.safetensors` file of one, or one of the original pair, whose
    other half is looked for beside it.

    Raises:
        CheckpointError: it is none, incomplete, or another kind of autoencoder.
    """
    if is_folder(source):
        name, tensors = source.name, _of_folder(source)
    elif is_file(source):
        name, tensors = source.stem, _of_file(source)
    else:
        raise CheckpointError(f"{source}: no such file or folder")
    encoder, decoder = (_layers(tensors, half, source) for half in HALVES)
    ups = sum(layer.kind == "upsampling" for layer in decoder)
    return TinyVae(
        name=name,
        tensors=tensors,
        encoder=encoder,
        decoder=decoder,
        latents=decoder[0].reads,
        downscale=2**ups,
        files=tuple(sorted({one.file for one in tensors.values()})),
    )


def holds_tiny_vae(source: Path) -> bool:
    """Whether `source` is one, going by its first layers; nothing is raised."""
    try:
        if is_folder(source):
            config = source / layout.CONFIG
            return is_file(config) and read_json(config).get("_class_name") == CLASS
        tensors = read_header(source)[0] if is_file(source) else {}
    except CheckpointError:
        return False  # whoever opens it says what is wrong
    return "decoder.layers.0.weight" in tensors or "1.conv.0.weight" in tensors


def _of_folder(folder: Path) -> Mapping[str, Stored]:
    if not is_file(folder / layout.CONFIG):
        raise CheckpointError(
            f"{folder}: expected a diffusers AutoencoderTiny ({layout.CONFIG} and its weights)"
        )
    config = read_json(folder / layout.CONFIG)
    for field, expected in _EXPECTED.items():
        if config.get(field, expected) != expected:
            raise CheckpointError(
                f"{folder / layout.CONFIG}: {field}: expected {expected!r}, got "
                f"{config[field]!r}; such a tiny autoencoder is not known here"
            )
    whole = folder.resolve()
    return Checkpoint(whole.parent, whole.name, {}).weights(whole.name).tensors()


def _of_file(file: Path) -> Mapping[str, Stored]:
    tensors = read_header(file)[0]
    if not all(_ORIGINAL.fullmatch(name) for name in tensors):
        return tensors
    found: dict[str, Stored] = {}
    for half in HALVES:
        path = file.with_name(re.sub("encoder|decoder", half, file.name))
        if not is_file(path):
            raise CheckpointError(f"{file}: its {half} is not beside it; expected {path}")
        found |= _renamed(read_header(path)[0], half)
    return found


def _renamed(tensors: Mapping[str, Stored], half: Half) -> dict[str, Stored]:
    """The original code's names as diffusers has them."""
    before = _CLAMP if half == "decoder" else 0
    named = ((_ORIGINAL.fullmatch(name), stored) for name, stored in tensors.items())
    return {
        f"{half}.layers.{int(match[1]) - before}{match[2]}": stored
        for match, stored in named
        if match
    }


def _layers(tensors: Mapping[str, Stored], half: Half, source: Path) -> tuple[Layer, ...]:
    """The chain. What has no weights is the first activation, or else doubles the sides."""
    found: dict[int, Layer] = {}
    for name, stored in tensors.items():
        match = _LAYER.fullmatch(name)
        if match is None or match[1] != half:
            continue
        begins = f"{half}.layers.{match[2]}"
        block = match[3] != "weight"
        found[int(match[2])] = Layer(
            "block" if block else "convolution",
            begins,
            stored.shape[1],
            stored.shape[0],
            bias=f"{begins}.bias" in tensors or block,
            skip=f"{begins}.skip.weight" in tensors,
        )
    if not found or 0 not in found:
        raise CheckpointError(
            f"{source}: expected a tiny autoencoder (diffusers' AutoencoderTiny, TAESD), and it "
            f"has no {half}.layers.0"
        )
    silent: Kind
    layers = []
    for at in range(max(found) + 1):
        silent = "activation" if at == 1 else "upsampling"
        layers.append(found.get(at) or Layer(silent))
    return tuple(layers)
