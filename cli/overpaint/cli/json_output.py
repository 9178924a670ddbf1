"""What `--json` prints: one object on a line of ASCII, which every stream can take."""

from __future__ import annotations

import json
from typing import Any

import typer


def echo_json(value: Any) -> None:
    """Print `value`, of plain values and dataclasses or structs of them, as JSON."""
    import msgspec

    typer.echo(json.dumps(msgspec.to_builtins(value)))
