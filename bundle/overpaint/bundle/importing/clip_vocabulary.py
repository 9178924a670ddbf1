"""CLIP's vocabulary, which every Stable Diffusion shares, from its list of merges.

The tokens are the 256 bytes (each as a printable character), the same at a word's end, then one
for each merge in order, then the two marks (openai/CLIP, `simple_tokenizer.py`; MIT licence).
"""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any, Final

from overpaint.bundle import layout
from overpaint.bundle.tokenizer.clip import END, START, read_clip_tokenizer
from overpaint.bundle.tokenizer.files import VOCABULARY

from .library import MERGES, Library

LENGTH: Final = 77


def vocabulary(merges: str) -> dict[str, int]:
    """Token -> id, from the lines of merges.txt after its first."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [256 + index for index in range(256 - len(printable))]
    letters = [chr(code) for code in (*printable, *others)]
    joined = [line.replace(" ", "") for line in merges.split("\n") if line]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *joined, START, END]
    return {token: index for index, token in enumerate(tokens)}


def write_clip_tokenizer(library: Library, folder: Path, pad: str) -> None:
    """Write a CLIP tokenizer that pads with `pad`: the files that a diffusers folder has."""
    folder.mkdir(parents=True)
    merges = lzma.decompress((library.folder / MERGES).read_bytes()).decode()
    text = json.dumps(vocabulary(merges), ensure_ascii=False)
    (folder / VOCABULARY[0]).write_text(text, "utf-8")
    (folder / VOCABULARY[1]).write_text(f"#version: 0.2\n{merges}", "utf-8")
    mark = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    config: dict[str, Any] = {
        "bos_token": {"content": START, **mark},
        "eos_token": {"content": END, **mark},
        "unk_token": {"content": END, **mark},
        "pad_token": pad,
    }
    (folder / "special_tokens_map.json").write_text(json.dumps(config, indent=2), "utf-8")
    config |= {"tokenizer_class": "CLIPTokenizer", "model_max_length": LENGTH}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2), "utf-8")
    read_clip_tokenizer(folder).save(str(folder / layout.TOKENIZER), pretty=False)
