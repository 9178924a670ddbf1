"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

BundleOption = Annotated[
    Path | None, typer.Option("--bundle", help="A bundle; absent, the embedded model.")
]
BundleArgument = Annotated[Path | None, typer.Argument(help="Absent, the embedded model.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]
