"""Tokenizers of a checkpoint -> `tokenizer.json`, proven equal to transformers' own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

import transformers
from tokenizers import Tokenizer

from overpaint.engines import layout
from overpaint.engines.clip_tokenizer import read_clip_tokenizer
from overpaint.engines.errors import CheckpointError, ParityError

_FILES: Final = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "spiece.model",
)

AWKWARD: Final = (
    "",
    " ",
    "a photo of a cat",
    "  Leading, TRAILING and    inner\tspace\r\n ",
    "naïve café, e\u0301 and é, İstanbul, ẞ, Ω, ﬁ, ½",
    "夜の富士山、浮世絵。서울의 밤 สวัสดี مرحبا",
    "🏔️ 👩‍👩‍👧‍👦 🇯🇵 👍🏽 😀😀😀",
    "...!!! ?!?! --- ((())) [[x]] {y} <z> \\/|&%$#@*^~`",
    "don't you're we've I'm they'll he'd it's ''s",
    "1234567890 3.14159 1,000,000 2x2 8k 35mm f/1.8",
    "\x00\x01\x1f\x7f\x85 a\u200bb\ufeffc\u2028d\u00a0e",
    "<|startoftext|> <|endoftext|> <|EndOfText|> </w> ! a!b !!",
    "antidisestablishmentarianism" * 12,
    " ".join(["word"] * 200),
    "(masterpiece:1.2), [blurry], BREAK, <lora:x:0.8>",
)
"""Prompts on which tokenizers have been seen to differ."""


def write_tokenizer(source: Path, folder: Path) -> None:
    """Copy a tokenizer's files into `folder`, with a tokenizer.json where it has none.

    Raises:
        CheckpointError: the files are missing or malformed.
        ParityError: the result tokenizes one of `AWKWARD` in another way than transformers does.
    """
    folder.mkdir(parents=True)
    for name in _FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    theirs = _reference(source)
    path = folder / layout.TOKENIZER
    if not path.is_file():
        if (folder / "vocab.json").is_file():
            read_clip_tokenizer(folder).save(str(path), pretty=False)
        else:
            theirs.backend_tokenizer.save(str(path), pretty=False)
    _compare(source, Tokenizer.from_file(str(path)), theirs)


def _reference(source: Path) -> Any:
    try:
        return transformers.AutoTokenizer.from_pretrained(source)
    except Exception as error:  # transformers raises whatever its parsers do
        first = str(error).strip().split("\n")[0]
        raise CheckpointError(f"{source}: transformers cannot read it: {first}") from error


def _compare(source: Path, ours: Tokenizer, theirs: Any) -> None:
    ours.no_padding()
    ours.no_truncation()
    for prompt in AWKWARD:
        wanted = theirs(prompt, truncation=False, padding=False).input_ids
        got = ours.encode(prompt).ids
        if got != wanted:
            raise ParityError(
                f"{source}: tokenizer.json makes {got[:12]}… of {prompt[:40]!r}, transformers "
                f"{wanted[:12]}…; nothing was written"
            )
