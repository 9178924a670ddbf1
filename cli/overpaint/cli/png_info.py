"""`overpaint png-info`: what a picture says of how it was made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .json_output import echo_json
from .options import Json

EXAMPLES = """**Examples**

`overpaint png-info out.png`

`overpaint png-info from-the-web-ui.png --json`
"""


def png_info(
    picture: Annotated[Path, typer.Argument(metavar="FILE", help="A PNG, JPEG or WEBP.")],
    *,
    json: Json = False,
) -> None:
    """Read a picture's parameters: ours, or those of AUTOMATIC1111's web UI."""
    from overpaint.runtime.infotext import read_said
    from overpaint.runtime.settings import options

    said = read_said(picture)
    if json:
        echo_json(
            {"by": said.by, "prompt": said.prompt, "settings": said.settings, "other": said.other}
        )
        return
    typer.echo(f"{picture}: painted by {said.by}")
    typer.echo(f"  {'prompt':22} {said.prompt}")
    defaults = {name: one.default for name, one in options().items()}
    for name, value in said.settings.items():
        if value != defaults.get(name):
            typer.echo(f"  {name:22} {_told(value)}")
    for name, value in said.other.items():
        if value not in (None, [], ()):
            typer.echo(f"  {name:22} {_told(value)}")


def _told(value: object) -> str:
    if isinstance(value, list | tuple) and len(value) == 2 and all(type(x) is int for x in value):
        return f"{value[0]}x{value[1]}"
    return str(value)
