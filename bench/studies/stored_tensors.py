"""What a published checkpoint of an architecture holds, by name and shape, as a folder and as a
single file, and the configs and tokenizers beside it."""

from __future__ import annotations

import json
import math
import string
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final, TypeAlias

from overpaint.bundle import layout
from overpaint.bundle.checkpoint.source import Source, whole
from overpaint.bundle.families import FAMILIES
from overpaint.bundle.graph.weights import Slot
from overpaint.bundle.importing.clip_vocabulary import write_clip_tokenizer
from overpaint.bundle.importing.library import Library
from overpaint.bundle.importing.recognise import slots_of

Sources: TypeAlias = dict[str, Source]
"""By weight: where it lies."""
Shapes: TypeAlias = dict[str, tuple[int, ...]]

TOKENIZERS: Final = dict(zip(layout.TEXT_ENCODERS, layout.TOKENIZERS, strict=True))


def in_folder(library: Library, name: str, component: str) -> Sources:
    return {weight: whole(weight) for weight in slots_of(library, name, component)}


def in_single_file(library: Library, name: str, component: str) -> Sources:
    """Under the original code's names.

    Raises:
        ValueError: single files have no place for a weight.
    """
    prefix, naming = FAMILIES[library.architectures[name].family].single_file[component][:2]
    slots = slots_of(library, name, component)
    find, found = naming(slots), {}
    for weight in slots:
        source = find(weight)
        if source is None:
            raise ValueError(f"single files of {name} have no place for {component}'s {weight}")
        rows = tuple(part._replace(name=prefix + part.name) for part in source.rows)
        found[weight] = source._replace(rows=rows)
    return found


def stored_shapes(slots: Mapping[str, Slot], sources: Sources) -> Shapes:
    """Of each tensor that the weights lie in; what is stored nowhere has none."""
    shapes: Shapes = {}
    for weight, source in sources.items():
        for part in source.rows:
            shape = slots[weight].shape[::-1] if source.transposed else slots[weight].shape
            shapes[part.name] = (shape[0] * part.of // len(source.rows), *shape[1:])
    return shapes


def write_configs(library: Library, name: str, folder: Path, components: Collection[str]) -> None:
    """All that diffusers' layout has of these components but their weights, and but the tokenizers
    that are neither packaged nor of T5's kind."""
    architecture = library.architectures[name]
    absent = {one for one in architecture.configs if one not in components}
    absent |= {TOKENIZERS[one] for one in absent if one in TOKENIZERS}
    index = {key: [None, None] if key in absent else at for key, at in architecture.index.items()}
    write_json(folder / layout.MODEL_INDEX, index)
    write_json(folder / layout.SCHEDULER_CONFIG, architecture.scheduler)
    for component in components:
        config, tokenizer = architecture.configs[component], TOKENIZERS.get(component, "")
        write_json(folder / component / layout.CONFIG, config)
        if pad := architecture.pads.get(tokenizer):
            write_clip_tokenizer(library, folder / tokenizer, pad)
        elif config.get("model_type") == "t5":
            write_t5_tokenizer(folder / tokenizer, config["vocab_size"])


def write_t5_tokenizer(folder: Path, size: int) -> None:
    """A tokenizer of T5's kind, whose `size` pieces are letters and numbers: T5's own are not
    packaged, and random weights know none of them."""
    pieces = ["<pad>", "</s>", "<unk>", "\u2581", *string.printable.strip()]
    pieces += [f"\u2581{number}" for number in range(size - len(pieces))]
    split = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always"}
    ends = {"id": "</s>", "ids": [1], "tokens": ["</s>"]}
    text = [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}]
    vocabulary = [(piece, -math.log1p(rank)) for rank, piece in enumerate(pieces)]
    write_json(
        folder / layout.TOKENIZER,
        {
            "version": "1.0",
            "added_tokens": [],
            "pre_tokenizer": split,
            "post_processor": {
                "type": "TemplateProcessing",
                "single": text,
                "pair": text,
                "special_tokens": {"</s>": ends},
            },
            "model": {"type": "Unigram", "unk_id": 2, "vocab": vocabulary},
        },
    )
    write_json(folder / "tokenizer_config.json", {"pad_token": "<pad>", "eos_token": "</s>"})


def write_json(path: Path, value: Mapping[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2), "utf-8")
