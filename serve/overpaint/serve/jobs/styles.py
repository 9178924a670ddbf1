"""Style controls: a table of additions to the prompt that everybody can see and edit.

In modify mode the table's rows are appended to the prompt; copy mode and text to image get none. A
job may bring its own rows, or an empty table for none, and the operator may bring another table.
The job's result shows the prompt that was run.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from overpaint.bundle.errors import UsageError

MAX_ROWS = 16
MAX_LENGTH = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Styles:
    """`prompt` maps a row's name to the words it adds. `negative_prompt` is used where modify mode
    gets none; short, since a long one costs likeness to the picture."""

    prompt: dict[str, str] = field(
        default_factory=lambda: {
            "lighting": "soft light",
            "mood": "quiet mood",
            "quality": "cinematic, highly detailed",
        }
    )
    negative_prompt: str | None = "blurry, distorted, watermark"


def read_styles(path: Path) -> Styles:
    """A table from a JSON file: {"prompt": {"lighting": "…"}, "negative_prompt": "…" or null}."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: expected a JSON file with a table of styles: {error}") from None
    if not isinstance(table, dict) or set(table) - {"prompt", "negative_prompt"}:
        raise UsageError(f'{path}: expected {{"prompt": {{…}}, "negative_prompt": …}}')
    rows, negative = table.get("prompt", {}), table.get("negative_prompt")
    texts = isinstance(rows, dict) and all(isinstance(row, str) for row in rows.values())
    if not texts or not (negative is None or isinstance(negative, str)):
        raise UsageError(f"{path}: expected every row and the negative prompt to be text")
    return Styles(prompt=rows, negative_prompt=negative)


def dress(
    styles: Styles,
    asked: dict[str, str] | None,
    mode: str | None,
    prompt: str,
    negative_prompt: str | None,
) -> tuple[str, str | None]:
    """(prompt, negative prompt) to run. `asked` is the job's own rows, None for the table's.

    The table's negative prompt comes with the table's rows: a job that brings its own rows brings
    its own negative prompt too. Raises UsageError for rows in copy mode, which repaints nothing.
    """
    if asked is not None:
        if asked and mode == "copy":
            raise UsageError("styles: copy mode keeps the picture and takes none; leave them out")
        return _join(prompt, asked), negative_prompt
    if mode != "modify":
        return prompt, negative_prompt
    negative = styles.negative_prompt if negative_prompt is None else negative_prompt
    return _join(prompt, styles.prompt), negative


def _join(prompt: str, rows: dict[str, str]) -> str:
    return ", ".join(text for text in (prompt, *rows.values()) if text.strip())
