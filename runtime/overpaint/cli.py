"""The command line. The one module above all rooms: each command imports its room when it runs."""

from __future__ import annotations


def main() -> None:
    raise SystemExit("overpaint: no command yet")
