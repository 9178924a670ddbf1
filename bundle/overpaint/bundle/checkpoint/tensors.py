"""What a checkpoint holds, component by component, and by which names.

Two kinds: a diffusers folder, where a component's tensors have their own names (or those that
older releases gave them), and a single file in the original code's names, where each component is a
prefix. In either, a name that a graph asks for leads to the places where that weight may lie.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from .source import Source, whole

if TYPE_CHECKING:  # NumPy comes with it, which opening a bundle needs not
    from .safetensors import Stored

Naming: TypeAlias = Callable[[str], Source | None]
"""A tensor's name in a diffusers folder -> where that weight lies under another naming."""


class InSingleFile(NamedTuple):
    """A component's place in a single file: how its names begin, and what follows.

    `naming` is made from all of the component's names in a diffusers folder: a layout shows in
    them. `or_prefix`: how they begin in files where none begins with `prefix`; "" is a file that
    holds this component alone.
    """

    prefix: str
    naming: Callable[[Collection[str]], Naming]
    or_prefix: str | None = None

    def prefix_in(self, names: Collection[str]) -> str:
        """How this component's names begin in a file that has `names`."""
        if self.or_prefix is None or any(name.startswith(self.prefix) for name in names):
            return self.prefix
        return self.or_prefix


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


def single_file_tensors(file: Mapping[str, Stored], place: InSingleFile) -> Tensors:
    """A component of a single file, empty where the file has nothing at its place."""
    prefix = place.prefix_in(file)
    stored = {
        name.removeprefix(prefix): tensor
        for name, tensor in file.items()
        if name.startswith(prefix)
    }

    def sources(names: Collection[str]) -> Callable[[str], Iterator[Source]]:
        find = place.naming(names)
        return lambda name: _spellings(find(name))

    return Tensors(stored, sources)


def _spellings(source: Source | None) -> Iterator[Source]:
    """Some early fine-tunes of SD 1 leave `text_model.` out of their encoder's names."""
    if source is None:
        return
    yield source
    if source.rows and source.rows[0].name.startswith("text_model."):
        yield whole(source.rows[0].name.removeprefix("text_model."))


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
    within = name.removeprefix("model.")  # as a language model's own files have its inside
    yield whole(within if within != name else f"model.{name}")
    if match := _ATTENTION.fullmatch(name):
        yield whole(match[1] + _OLD_ATTENTION[match[2]] + match[3])
    if name in _T5_EMBEDDING:
        yield from (whole(tied) for tied in _T5_EMBEDDING)
