"""What a checkpoint holds, component by component, and by which names.

Two kinds: a diffusers folder, where a component's tensors have their own names (or those that
older releases gave them), and a single file in the original code's names, where each component is a
prefix. Either says, for a name that a graph asks for, where that weight may lie.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from overpaint.bundle.checkpoint.original_names.mmdit import MmditNames
from overpaint.bundle.checkpoint.original_names.text import clip_source, openclip_source, t5_source
from overpaint.bundle.checkpoint.original_names.unet import UnetNames
from overpaint.bundle.checkpoint.original_names.vae import VaeNames
from overpaint.bundle.facts import Family

from .safetensors import Stored
from .source import IDENTITY, Source, whole

Naming: TypeAlias = Callable[[str], Source | None]


@dataclass(frozen=True, slots=True)
class Tensors:
    """A component's tensors as they are stored, and where a wanted one may lie among them.

    `naming` is made from all of the wanted names: a layout shows in them.
    """

    stored: Mapping[str, Stored]
    naming: Callable[[Collection[str]], Callable[[str], Iterator[Source]]]


def folder_tensors(stored: Mapping[str, Stored]) -> Tensors:
    """A component of a diffusers folder."""
    return Tensors(stored, lambda names: _aliases)


def single_file_tensors(
    file: Mapping[str, Stored], family: Family, component: str
) -> Tensors | None:
    """A component of a single file; None where a file of this family cannot hold it."""
    if component not in _SINGLE_FILE[family]:
        return None
    prefix, naming = naming_in_single_file(family, component)
    stored = {
        name.removeprefix(prefix): tensor
        for name, tensor in file.items()
        if name.startswith(prefix)
    }

    def sources(names: Collection[str]) -> Callable[[str], Iterator[Source]]:
        find = naming(names)
        return lambda name: _spellings(find(name))

    return Tensors(stored, sources)


def _spellings(source: Source | None) -> Iterator[Source]:
    """Some early fine-tunes of SD 1 leave `text_model.` out of their encoder's names."""
    if source is None:
        return
    yield source
    if source.rows and source.rows[0].name.startswith("text_model."):
        yield whole(source.rows[0].name.removeprefix("text_model."))


def naming_in_single_file(
    family: Family, component: str
) -> tuple[str, Callable[[Collection[str]], Naming]]:
    """How a component's names begin in a single file, and (given them all) where each lies."""
    return _SINGLE_FILE[family][component]


_UNET: Final = ("model.diffusion_model.", lambda names: UnetNames.of(names).source)
_VAE: Final = ("first_stage_model.", lambda names: VaeNames.of(names).source)


def _fixed(source: Naming) -> Callable[[Collection[str]], Naming]:
    return lambda names: source


def _unprojected_clip(name: str) -> Source:
    """SD 3's own code pools CLIP-L without a projection; diffusers has one, and makes it 1."""
    return IDENTITY if name == "text_projection.weight" else clip_source(name)


_CLIP, _OPENCLIP, _T5 = _fixed(clip_source), _fixed(openclip_source), _fixed(t5_source)
_SINGLE_FILE: Final[dict[Family, dict[str, tuple[str, Callable[[Collection[str]], Naming]]]]] = {
    "sd1": {
        "unet": _UNET,
        "vae": _VAE,
        "text_encoder": ("cond_stage_model.transformer.", _CLIP),
    },
    "sd2": {
        "unet": _UNET,
        "vae": _VAE,
        "text_encoder": ("cond_stage_model.model.", _OPENCLIP),
    },
    "sdxl": {
        "unet": _UNET,
        "vae": _VAE,
        "text_encoder": ("conditioner.embedders.0.transformer.", _CLIP),
        "text_encoder_2": ("conditioner.embedders.1.model.", _OPENCLIP),
    },
    "sdxl-refiner": {
        "unet": _UNET,
        "vae": _VAE,
        "text_encoder_2": ("conditioner.embedders.0.model.", _OPENCLIP),
    },
    "sd3": {
        "transformer": ("model.diffusion_model.", lambda names: MmditNames.of(names).source),
        "vae": _VAE,
        "text_encoder": ("text_encoders.clip_l.transformer.", _fixed(_unprojected_clip)),
        "text_encoder_2": ("text_encoders.clip_g.transformer.", _CLIP),
        "text_encoder_3": ("text_encoders.t5xxl.transformer.", _T5),
    },
}

_OLD_ATTENTION: Final = {  # a VAE's attention in diffusers until 2023; SD 1's own files still
    "to_q": "query",
    "to_k": "key",
    "to_v": "value",
    "to_out.0": "proj_attn",
}
_ATTENTION: Final = re.compile(r"(.*\.attentions\.\d+\.)(to_[qkv]|to_out\.0)(\..*)")
_T5_EMBEDDING: Final = ("shared.weight", "encoder.embed_tokens.weight")


def _aliases(name: str) -> Iterator[Source]:
    yield whole(name)
    bare = name.removeprefix("text_model.")  # transformers 5 dropped it, files have it
    yield whole(bare if bare != name else f"text_model.{name}")
    if match := _ATTENTION.fullmatch(name):
        yield whole(match[1] + _OLD_ATTENTION[match[2]] + match[3])
    if name in _T5_EMBEDDING:
        yield from (whole(tied) for tied in _T5_EMBEDDING)
