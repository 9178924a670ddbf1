"""What a tokenizer's files say without running it: which they are, and what it pads with."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from overpaint.bundle.errors import CheckpointError
from overpaint.bundle.files.json import LARGEST_TOKENIZER, read_json
from overpaint.bundle.layout import TOKENIZER

VOCABULARY: Final = ("vocab.json", "merges.txt")
_CONFIGS: Final = ("tokenizer_config.json", "special_tokens_map.json")


def tokenizer_files(folder: Path) -> tuple[str, ...]:
    """The names of the files that a tokenizer is read from, in `folder`.

    Raises:
        CheckpointError: neither tokenizer.json nor CLIP's vocab.json and merges.txt are there.
    """
    for names in ((TOKENIZER,), VOCABULARY):
        if all((folder / name).is_file() for name in names):
            return names + tuple(name for name in _CONFIGS if (folder / name).is_file())
    raise CheckpointError(f"{folder}: expected tokenizer.json, or vocab.json and merges.txt")


def pad_token_id(folder: Path) -> int:
    """The id that this tokenizer pads with: CLIP-L's is its end token, CLIP-G's is `!`, 0.

    Raises:
        CheckpointError: its files do not say.
    """
    token = None
    for name in _CONFIGS:
        if token is None and (folder / name).is_file():
            entry = read_json(folder / name).get("pad_token")
            token = entry.get("content") if isinstance(entry, dict) else entry
    if (folder / TOKENIZER).is_file():
        ids = _ids(read_json(folder / TOKENIZER, LARGEST_TOKENIZER))
    else:
        ids = read_json(folder / VOCABULARY[0], LARGEST_TOKENIZER)
    found = ids.get(token) if isinstance(token, str) else None
    if type(found) is not int:
        raise CheckpointError(f"{folder}: expected its pad_token in the vocabulary, got {token!r}")
    return found


def _ids(tokenizer: dict[str, Any]) -> dict[str, Any]:
    """Token -> id of a tokenizer.json: a Unigram model lists pieces, the others map them."""
    model = tokenizer.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, list):
        vocabulary = {
            piece[0]: index
            for index, piece in enumerate(vocabulary)
            if isinstance(piece, list) and piece and isinstance(piece[0], str)
        }
    added = tokenizer.get("added_tokens")
    ids = dict(vocabulary) if isinstance(vocabulary, dict) else {}
    for entry in added if isinstance(added, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("content"), str):
            ids[entry["content"]] = entry.get("id")
    return ids
