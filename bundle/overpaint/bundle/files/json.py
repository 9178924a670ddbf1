"""Reading JSON from a checkpoint's or a bundle's file: strictly, and no more than a file may hold.

A repeated key is refused, because parsers disagree on which of the two counts; so are NaN, text
that is not Unicode, and more nesting than any config has.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from overpaint.bundle.errors import CheckpointError, one_line

LARGEST_CONFIG: Final = 16 << 20  # bytes; configs are some kilobytes
DEEPEST: Final = 64
LARGEST_TOKENIZER: Final = 64 << 20  # the largest vocabularies are half of that


def read_json(path: Path, largest: int = LARGEST_CONFIG) -> dict[str, Any]:
    """Return the object in the file `path`.

    Raises:
        CheckpointError: the file cannot be read, is larger than `largest` bytes, or holds
            something else.
    """
    try:
        value = parse_json(read_text(path, largest))
    except ValueError as error:
        raise CheckpointError(f"{path}: expected JSON: {one_line(str(error))}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value


def read_text(path: Path, largest: int = LARGEST_CONFIG) -> str:
    """Return the UTF-8 text in the file `path`.

    Raises:
        CheckpointError: the file cannot be read, is larger than `largest` bytes, or is no UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(largest + 1)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > largest:
        raise CheckpointError(f"{path}: expected at most {largest >> 20} MB, got more")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path}: expected UTF-8 text: {error.reason}") from None


def parse_json(text: str | bytes) -> Any:
    """Return what `text` says, -Infinity included, which diffusers writes for lambda_min_clipped.

    Raises:
        ValueError: it is not JSON, a key stands twice in one object, or it nests too deep.
    """
    try:
        value = json.loads(text, object_pairs_hook=_each_key_once, parse_constant=_constant)
        json.dumps(value, ensure_ascii=False).encode()  # which a lone surrogate does not survive
    except RecursionError:
        raise ValueError(f"it nests deeper than {DEEPEST}") from None
    _check_depth(value)
    return value


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [child for one in level for child in _children(one)]
    if level:
        raise ValueError(f"it nests deeper than {DEEPEST}")


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for key, value in pairs:
        if key in entries:
            raise ValueError(f"the key {key!r} stands twice in one object")
        entries[key] = value
    return entries


def _constant(name: str) -> float:
    if name != "-Infinity":
        raise ValueError(f"{name} is no number")
    return float("-inf")
