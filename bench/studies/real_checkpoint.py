"""A checkpoint of an architecture's true size with random weights, as a folder or a single file."""

from __future__ import annotations

import functools
import json
import math
import string
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from overpaint.bundle import layout
from overpaint.bundle.checkpoint.safetensors import ToWrite, write_safetensors
from overpaint.bundle.checkpoint.source import IDENTITY
from overpaint.bundle.families import FAMILIES
from overpaint.bundle.graph.weights import Slot
from overpaint.bundle.importing.clip_vocabulary import write_clip_tokenizer
from overpaint.bundle.importing.library import Library
from overpaint.bundle.importing.recognise import slots_of

Values: TypeAlias = npt.NDArray[np.float32]

_BLOCK: Final = 1 << 24  # values drawn once, and repeated: a checkpoint's size is what matters
_DTYPES: Final = {"F32": np.float32, "F16": np.float16}


def write_folder(
    library: Library,
    name: str,
    folder: Path,
    *,
    dtype: str = "F16",
    without: tuple[str, ...] = (),
    distinct: bool = False,
) -> Path:
    """Write architecture `name` in diffusers' layout, leaving out the components `without`.

    distinct: no two tensors are alike, for builders that keep those once that are.
    """
    architecture = library.architectures[name]
    tokenizers = dict(zip(layout.TEXT_ENCODERS, layout.TOKENIZERS, strict=True))
    absent = {*without, *(tokenizers[one] for one in without if one in tokenizers)}
    index = {key: [None, None] if key in absent else at for key, at in architecture.index.items()}
    _json(folder / layout.MODEL_INDEX, index)
    _json(folder / layout.SCHEDULER_CONFIG, architecture.scheduler)
    for component, config in architecture.configs.items():
        if component in without:
            continue
        _json(folder / component / layout.CONFIG, config)
        stem = "model" if component in tokenizers else "diffusion_pytorch_model"
        tensors = dict(_weights(slots_of(library, name, component), dtype, distinct))
        write_safetensors(folder / component / f"{stem}.safetensors", tensors)
        if pad := architecture.pads.get(tokenizers.get(component, "")):
            write_clip_tokenizer(library, folder / tokenizers[component], pad)
        elif config.get("model_type") == "t5":
            write_t5_tokenizer(folder / tokenizers[component], config["vocab_size"])
    return folder


def write_t5_tokenizer(folder: Path, size: int) -> None:
    """A tokenizer of T5's kind, whose `size` pieces are letters and numbers: T5's own are not
    packaged, and random weights know none of them."""
    pieces = ["<pad>", "</s>", "<unk>", "\u2581", *string.printable.strip()]
    pieces += [f"\u2581{number}" for number in range(size - len(pieces))]
    split = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always"}
    ends = {"id": "</s>", "ids": [1], "tokens": ["</s>"]}
    text = [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}]
    vocabulary = [(piece, -math.log1p(rank)) for rank, piece in enumerate(pieces)]
    _json(
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
    _json(folder / "tokenizer_config.json", {"pad_token": "<pad>", "eos_token": "</s>"})


def write_file(
    library: Library, name: str, path: Path, *, dtype: str = "F16", without: tuple[str, ...] = ()
) -> Path:
    """Write architecture `name` as a single file, under the original code's names."""
    family = FAMILIES[library.architectures[name].family]
    tensors: dict[str, ToWrite] = {}
    for component in library.architectures[name].configs:
        if component in without:
            continue
        slots = slots_of(library, name, component)
        prefix, naming = family.single_file[component][:2]
        find = naming(slots)
        stored: dict[str, Slot] = {}
        for weight, slot in slots.items():
            source = find(weight)
            if source is None or source == IDENTITY:
                continue
            shape = slot.shape[::-1] if source.transposed else slot.shape
            of = source.rows[0].of
            rows = shape[0] * of // len(source.rows)
            stored[prefix + source.rows[0].name] = Slot(slot.dtype, (rows, *shape[1:]))
        tensors |= dict(_weights(stored, dtype))
    write_safetensors(path, tensors)
    return path


def _weights(
    slots: Mapping[str, Slot], dtype: str, distinct: bool = False
) -> Iterator[tuple[str, ToWrite]]:
    block = np.random.default_rng(0).standard_normal(_BLOCK, np.float32)
    for name, (_, shape) in slots.items():
        start = zlib.crc32(name.encode()) % (_BLOCK // 2) if distinct else 0
        yield (
            name,
            ToWrite(dtype, shape, functools.partial(_values, name, shape, dtype, block[start:])),
        )


def _values(name: str, shape: tuple[int, ...], dtype: str, block: Values) -> bytes:
    """Matrices that keep the size of what they multiply; norms of 1, biases of 0."""
    count = math.prod(shape)
    if len(shape) == 1:
        return np.full(count, name.endswith("weight"), _DTYPES[dtype]).tobytes()
    scaled = (block[:count] / np.float32(math.sqrt(math.prod(shape[1:])))).astype(_DTYPES[dtype])
    return np.resize(scaled, count).tobytes()


def _json(path: Path, value: Mapping[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2), "utf-8")
