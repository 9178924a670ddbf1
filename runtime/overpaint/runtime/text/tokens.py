"""Prompts -> token ids of a fixed length, and the text that did not fit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from overpaint.engines import layout
from overpaint.engines.errors import IntegrityError


@dataclass(frozen=True, slots=True)
class Tokens:
    """ids (1,length) int64, padded; `cut` is the end of the prompt that did not fit, as typed."""

    ids: npt.NDArray[np.int64]
    cut: str


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of `folder`: tokenizer.json, or CLIP's vocab.json and merges.txt."""
    path = folder / layout.TOKENIZER
    try:
        if path.is_file():
            tokenizer = Tokenizer.from_file(str(path))
        else:
            from overpaint.engines.clip_tokenizer import read_clip_tokenizer

            tokenizer = read_clip_tokenizer(folder)
    except Exception as error:  # the Rust library raises bare Exception
        raise IntegrityError(f"{folder}: no tokenizer can be read there ({error})") from None
    # A saved tokenizer may carry a padding and a truncation of its own; ours come per call.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def tokenize(tokenizer: Tokenizer, prompt: str, *, length: int, pad_id: int) -> Tokens:
    """`length` ids: the prompt between its special tokens, cut or padded with `pad_id`.

    What a cut leaves keeps its closing special token, as transformers' truncation does.
    """
    encoding = tokenizer.encode(prompt)
    ids, cut = encoding.ids, ""
    if len(ids) > length:
        kept = length - 1
        cut = prompt[encoding.offsets[kept][0] :].strip()
        ids = ids[:kept] + ids[-1:]
    padded = ids + [pad_id] * (length - len(ids))
    return Tokens(np.asarray([padded], np.int64), cut)
