"""Tokenizers of a checkpoint -> `tokenizer.json`, proven equal to transformers' own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import transformers
from tokenizers import Tokenizer

from overpaint.bundle import layout
from overpaint.bundle.errors import CheckpointError, ParityError
from overpaint.bundle.importing.copy_tokenizers import copy_tokenizer

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
    copy_tokenizer(source, folder)
    ours = Tokenizer.from_file(str(folder / layout.TOKENIZER))
    ours.no_padding()
    ours.no_truncation()
    theirs = _reference(source)
    for prompt in AWKWARD:
        wanted = theirs(prompt, truncation=False, padding=False).input_ids
        got = ours.encode(prompt).ids
        if got != wanted:
            raise ParityError(
                f"{source}: tokenizer.json makes {got[:12]}… of {prompt[:40]!r}, transformers "
                f"{wanted[:12]}…; nothing was written"
            )


def _reference(source: Path) -> Any:
    try:
        return transformers.AutoTokenizer.from_pretrained(source)
    except Exception as error:  # transformers raises whatever its parsers do
        first = str(error).strip().split("\n")[0]
        raise CheckpointError(f"{source}: transformers cannot read it: {first}") from error
