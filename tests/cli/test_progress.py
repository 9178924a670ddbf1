"""A bar on a terminal, whatever the picture is called."""

from __future__ import annotations

import io
import sys

import pytest

from overpaint.cli.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("name", ["[/b].png", "[bold]a.png", "holiday [1].jpg"])
def test_a_name_in_brackets_is_shown_as_it_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with progress_bar(name) as advance:
        advance(1, 2)
    assert name in sys.stderr.getvalue()  # type: ignore[attr-defined]
