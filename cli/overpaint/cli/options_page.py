"""The table of a run's options in the documentation, made of their declarations.

python -m overpaint.cli.options_page docs/options.md
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from overpaint.runtime.option import Declared
from overpaint.runtime.settings import Settings, options

from .flags import flag

TEXT: Final = """# The options of a run

Each is declared once, in `runtime/overpaint/runtime/settings.py`. On the command line it is the
flag below; in Python, in the native API and in a picture's parameters it goes by the same name with
underscores. What is absent comes from the preset, the mode, or the bundle, in this order.

{table}

Made by `python -m overpaint.cli.options_page docs/options.md`.
"""


def table(settings: type[Settings]) -> str:
    """A row for each option that `settings` declares, in Markdown."""
    head = ["| flag | takes | absent | |", "|---|---|---|---|"]
    return "\n".join([*head, *(_row(one) for one in options(settings).values())])


def _row(one: Declared) -> str:
    default = "" if one.default in (None, False, True) else f" {one.default}"
    takes = one.takes.replace("|", ", ")
    return f"| `{flag(one).replace('/', '`, `')}` | {takes} |{default} | {one.option.help} |"


def main() -> None:
    """Write the page that the first argument names."""
    Path(sys.argv[1]).write_text(TEXT.format(table=table(Settings)), "utf-8")


if __name__ == "__main__":
    main()
