"""Reading a JSON object from a checkpoint's or a bundle's file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from overpaint.bundle.errors import CheckpointError


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in the file `path`.

    Raises:
        CheckpointError: the file cannot be read, or holds something else.
    """
    try:
        # json and not msgspec: diffusers writes -Infinity for lambda_min_clipped
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: expected JSON: {error}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value
