"""A progress bar on a terminal, nothing in a pipe."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Literal, Protocol


class Advance(Protocol):
    """Say how far it is: `done` of `total`, and what comes next."""

    def __call__(self, done: int, total: int, doing: str = "", /) -> None: ...


@contextlib.contextmanager
def progress_bar(
    title: str, unit: Literal["steps", "bytes", "percent"] = "steps"
) -> Iterator[Advance]:
    """Yield a function to advance the bar, which is drawn on stderr if that is a terminal.

    The bar appears with the first advance, and is gone at the end.
    """
    if not sys.stderr.isatty():
        yield lambda done, total, doing="", /: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns: dict[str, ProgressColumn] = {
        "steps": MofNCompleteColumn(),
        "bytes": DownloadColumn(),
        "percent": TaskProgressColumn(),
    }
    progress = Progress(
        TextColumn("{task.description}", markup=False),  # a prompt may hold [/b]
        BarColumn(),
        columns[unit],
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with progress:
        task = progress.add_task(title, total=None, visible=False)

        def advance(done: int, total: int, doing: str = "", /) -> None:
            progress.update(
                task, completed=done, total=total, description=doing or title, visible=True
            )

        yield advance
