"""A report on the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .live import LiveReport, live_sheets
from .records import Report
from .sheets import Sheet, sheets


def show(report: Report | LiveReport, console: Console) -> None:
    for part in live_sheets(report) if isinstance(report, LiveReport) else sheets(report):
        # Never as markup: pip's [extra] would be taken for a style.
        console.print(_table(part) if isinstance(part, Sheet) else Text(part), highlight=False)


def _table(sheet: Sheet) -> Table:
    table = Table(box=box.SIMPLE)
    for i, column in enumerate(sheet.columns):
        table.add_column(Text(column), justify="right" if i else "left")
    for row in sheet.rows:
        table.add_row(*map(Text, row))
    return table
