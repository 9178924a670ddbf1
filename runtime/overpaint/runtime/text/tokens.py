"""A bundle's tokenizers."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from overpaint.bundle import layout
from overpaint.bundle.errors import IntegrityError, one_line


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of `folder`: tokenizer.json, or CLIP's vocab.json and merges.txt."""
    path = folder / layout.TOKENIZER
    try:
        if path.is_file():
            tokenizer = Tokenizer.from_file(str(path))
        else:
            from overpaint.bundle.tokenizer.clip import read_clip_tokenizer

            tokenizer = read_clip_tokenizer(folder)
    except Exception as error:  # the Rust library raises bare Exception
        why = one_line(str(error))
        raise IntegrityError(f"{folder}: no tokenizer can be read there ({why})") from None
    # A saved tokenizer may carry a padding and a truncation of its own; ours come per call.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
