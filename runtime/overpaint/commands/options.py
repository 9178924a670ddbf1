"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

BundleOption = Annotated[
    Path | None,
    typer.Option(
        "--bundle", help="A bundle, or a checkpoint to import; absent, the embedded model."
    ),
]
LoraOption = Annotated[
    list[str] | None,
    typer.Option("--lora", metavar="FILE[:WEIGHT]", help="Fused into the weights. Repeatable."),
]
LikeOption = Annotated[
    str | None,
    typer.Option("--like", metavar="NAME", help="What a single file is, where it does not tell."),
]
BundleArgument = Annotated[Path | None, typer.Argument(help="Absent, the embedded model.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]
