"""A checkpoint's tokenizers, brought into a bundle with a `tokenizer.json` each."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from overpaint.bundle import layout
from overpaint.bundle.errors import CheckpointError
from overpaint.bundle.tokenizer.clip import read_clip_tokenizer
from overpaint.bundle.tokenizer.files import VOCABULARY

_FILES: Final = (
    layout.TOKENIZER,
    *VOCABULARY,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "spiece.model",
    "chat_template.jinja",  # for whoever opens the bundle with transformers
)


def copy_tokenizer(source: Path, folder: Path) -> None:
    """Copy a tokenizer's files; CLIP's vocabulary becomes tokenizer.json where that is absent.

    Raises:
        CheckpointError: the files are missing, or a SentencePiece model without tokenizer.json.
    """
    folder.mkdir(parents=True)
    for name in _FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    if (folder / layout.TOKENIZER).is_file():
        return
    if not (folder / VOCABULARY[0]).is_file():
        raise CheckpointError(
            f"{source}: expected {layout.TOKENIZER}, or CLIP's {' and '.join(VOCABULARY)}; give a "
            "folder that has its tokenizer.json with --tokenizer"
        )
    read_clip_tokenizer(folder).save(str(folder / layout.TOKENIZER), pretty=False)


def copy_given_tokenizer(source: Path | None, folder: Path, label: str) -> None:
    """Copy T5's or Qwen3's tokenizer, which a single file lacks and the package does not carry.

    Raises:
        CheckpointError: none was given.
    """
    if source is None:
        raise CheckpointError(
            f"{label} holds T5 or Qwen3, whose vocabulary is not in the package: give a folder "
            f"that has its tokenizer.json with --tokenizer, such as this model's {folder.name} in "
            "diffusers' layout"
        )
    nested = source / folder.name
    copy_tokenizer(nested if nested.is_dir() else source, folder)
