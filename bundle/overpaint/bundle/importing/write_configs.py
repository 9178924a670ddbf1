"""What a recognised checkpoint is: its configs, written into the bundle and checked on the way.

A diffusers folder has them; for a single file those of its architecture in the library stand in,
with its scheduler and vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from overpaint.bundle import layout
from overpaint.bundle.checkpoint.folder import configs_of
from overpaint.bundle.facts import Configs, Facts
from overpaint.bundle.families import facts_of
from overpaint.bundle.tokenizer.files import pad_token_id

from .checkpoint_kinds import Folder, SingleFile
from .clip_vocabulary import write_clip_tokenizer
from .compatible_configs import check_configs
from .copy_tokenizers import copy_given_tokenizer, copy_tokenizer
from .library import Library
from .recognise import Recognised
from .variant import choose_variant

_NOT_TAKEN: Final = ("safety_checker", "feature_extractor", "image_encoder")


@dataclass(frozen=True, slots=True)
class Described:
    """`architecture`: its name in the library."""

    architecture: str
    configs: Configs
    facts: Facts


def describe_folder(
    library: Library, opened: Folder, recognised: Recognised, bundle: Path, given: Path | None
) -> Described:
    """Copy a diffusers folder's configs and tokenizers into `bundle`; see that they fit the graphs.

    Raises:
        CheckpointError: a config is missing, malformed, or asks for another computation.
    """
    checkpoint, architecture = opened.checkpoint, recognised.names[0]
    configs = configs_of(checkpoint)
    for component in recognised.components:
        ours = library.architectures[architecture].configs[component]
        check_configs(component, configs.components[component], ours)
    index = {**configs.index}
    index |= {name: [None, None] for name in _NOT_TAKEN if name in index}
    _write(bundle, index, configs.scheduler)
    for encoder, name in _tokenizers(recognised):
        asked = given if configs.components[encoder].get("model_type") == "t5" else None
        copy_tokenizer(asked or checkpoint.folder / name, bundle / name)
    names = f"{opened.name} {configs.index.get('_name_or_path', '')}"
    return Described(architecture, configs, facts_of(configs, names))


def describe_file(
    library: Library,
    opened: SingleFile,
    recognised: Recognised,
    like: str | None,
    bundle: Path,
    given: Path | None,
) -> Described:
    """Write the library's configs and vocabulary into `bundle`, for the variant that the file is.

    Raises:
        CheckpointError: its variant cannot be told, or T5's or Qwen3's tokenizer is missing.
        UsageError: `like` is no architecture.
    """
    name = choose_variant(
        library, recognised.names, like, opened.metadata, opened.tensors, opened.label
    )
    ours = library.architectures[name]
    absent = {one for one in ours.configs if one not in recognised.components}
    tokenizers = dict(zip(layout.TEXT_ENCODERS, layout.TOKENIZERS, strict=True))
    empty = absent | {tokenizers[one] for one in absent if one in tokenizers}
    index = {key: [None, None] if key in empty else value for key, value in ours.index.items()}
    _write(bundle, index, ours.scheduler)
    names = [tokenizer for _, tokenizer in _tokenizers(recognised)]
    for tokenizer in names:
        if tokenizer in ours.pads:
            write_clip_tokenizer(library, bundle / tokenizer, ours.pads[tokenizer])
        else:
            copy_given_tokenizer(given, bundle / tokenizer, opened.label)
    configs = Configs(
        index=index,
        scheduler=ours.scheduler,
        components={one: config for one, config in ours.configs.items() if one not in absent},
        pad_token_ids={one: pad_token_id(bundle / one) for one in names},
    )
    return Described(name, configs, facts_of(configs, str(index.get("_name_or_path", ""))))


def _tokenizers(recognised: Recognised) -> list[tuple[str, str]]:
    pairs = zip(layout.TEXT_ENCODERS, layout.TOKENIZERS, strict=True)
    return [pair for pair in pairs if pair[0] in recognised.components]


def _write(bundle: Path, index: Mapping[str, Any], scheduler: Mapping[str, Any]) -> None:
    write_json(bundle / layout.MODEL_INDEX, index)
    (bundle / layout.SCHEDULER_CONFIG).parent.mkdir()
    write_json(bundle / layout.SCHEDULER_CONFIG, scheduler)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a config as diffusers lays it out."""
    path.write_text(json.dumps(value, indent=2) + "\n", "utf-8")
