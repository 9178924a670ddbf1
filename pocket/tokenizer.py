"""A CLIP tokenizer of our own: byte-level BPE whose merges spell the words of the captions.

The files are those of CLIPTokenizer (Radford et al., 2021; byte-level BPE: Radford et al., 2019):
256 bytes, the same at a word's end, the merges, two special tokens. Any text tokenizes: a word
that the merges do not spell falls into pieces and bytes.
"""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

from pocket.captions import known_words

START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH = 32
Word = tuple[str, ...]


def byte_letters() -> dict[int, str]:
    """GPT-2's printable letter for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = (b for b in range(256) if b not in set(printable))
    letters = {b: chr(b) for b in printable}
    letters |= {b: chr(256 + k) for k, b in enumerate(spare)}
    return letters


def learn_merges(words: list[str]) -> list[tuple[str, str]]:
    """The merges that spell every one of `words` (ASCII) as one token, the commonest first."""
    spelt: list[Word] = [(*word[:-1], word[-1] + "</w>") for word in words]
    merges: list[tuple[str, str]] = []
    while True:
        pairs = Counter(p for word in spelt for p in pairwise(word))
        if not pairs:
            return merges
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        spelt = [_merge(word, best) for word in spelt]


def _merge(word: Word, pair: tuple[str, str]) -> Word:
    out: list[str] = []
    for piece in word:
        if out and (out[-1], piece) == pair:
            out[-1] += piece
        else:
            out.append(piece)
    return tuple(out)


def write_tokenizer(folder: Path) -> int:
    """vocab.json, merges.txt and the two configs; returns the vocabulary's size."""
    folder.mkdir(parents=True, exist_ok=True)
    merges = learn_merges(known_words())
    letters = list(byte_letters().values())
    tokens = [*letters, *(c + "</w>" for c in letters), *(a + b for a, b in merges), START, END]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges), ""]
    (folder / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2))
    config = {
        **special,
        "add_prefix_space": False,
        "do_lower_case": True,
        "model_max_length": LENGTH,
        "tokenizer_class": "CLIPTokenizer",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2))
    return len(vocabulary)
