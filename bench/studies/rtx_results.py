"""The files of results that the studies of TensorRT for RTX write: a machine and rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import to_builtins

from overpaint.bench.machine import this_machine

Row = dict[str, Any]


def record(
    path: Path, row: Row, *, same: tuple[str, ...], order: Callable[[Row], Any] | None = None
) -> None:
    """Put a row into a file of results, in the place of an earlier one whose fields `same` are the
    same. `order` sorts them; without it the row comes last."""
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    rows = [one for one in rows if any(one[name] != row[name] for name in same)] + [row]
    if order is not None:
        rows.sort(key=order)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps({"machine": to_builtins(this_machine()), "rows": rows}, indent=1) + "\n"
    )
