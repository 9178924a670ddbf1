"""A file with a line for each picture of a run: what became of it."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeAlias

from overpaint.bundle.errors import MissingExtraError

from .output import save
from .painter import Order, Painted

Add: TypeAlias = Callable[[Order, Painted], None]


@contextlib.contextmanager
def reporting(path: Path | None) -> Iterator[Add]:
    """Yield what adds a picture to the report at `path`, which is written whole at the end, also
    where the run is broken off. None: there is none.

    Raises what `save` does; MissingExtraError for Parquet without pyarrow.
    """
    if path is None:
        yield lambda order, painted: None
        return
    with tempfile.TemporaryFile("w+", encoding="utf-8") as lines:
        try:
            yield lambda order, painted: _add(lines, order, painted)
        finally:
            lines.seek(0)
            text = lines.read().encode()
            if text:
                data = _parquet(text) if path.suffix == ".parquet" else text
                save(data, path, force=True)


def _add(lines: IO[str], order: Order, painted: Painted) -> None:
    json.dump(_row(order, painted), lines, ensure_ascii=False)
    lines.write("\n")


def _row(order: Order, painted: Painted) -> dict[str, Any]:
    """`status`: painted, there (it was already), or failed, though some outputs may be written."""
    result = painted.result
    status = "failed" if painted.failures else "there" if painted.there else "painted"
    return {
        "image": order.task.name,
        "outputs": [str(path) for path in order.task.outputs],
        "status": status,
        "error": "; ".join(str(error) for _, error in painted.failures) or None,
        "prompt": order.prompt,
        "seeds": list(result.seeds) if result else [],
        "device": result.device if result else None,
        "seconds": result.timings.total if result else None,
        "warnings": list(result.warnings) if result else [],
    }


def _parquet(lines: bytes) -> bytes:
    try:
        import pyarrow as pa
        import pyarrow.json
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError.told_by(error, "ray", "pyarrow") from error
    text, texts = pa.string(), pa.list_(pa.string())
    schema = pa.schema(
        {
            "image": text,
            "outputs": texts,
            "status": text,
            "error": text,
            "prompt": text,
            "seeds": pa.list_(pa.uint64()),
            "device": text,
            "seconds": pa.float64(),
            "warnings": texts,
        }
    )
    rows = [json.loads(line) for line in lines.splitlines()]
    written = io.BytesIO()
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows, schema), written)
    return written.getvalue()
