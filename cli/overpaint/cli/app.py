"""The commands. Above all rooms: a command's module is imported when the command is typed."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

COMMANDS: Final = {
    "run": "run.run",
    "grid": "grid.grid",
    "watch": "watch.watch",
    "png-info": "png_info.png_info",
    "live": "live.live",
    "export": "export.export",
    "export-triton": "export_triton.export_triton",
    "import": "importing.import_",
    "build": "build.build",
    "info": "info.info",
    "verify": "verify.verify",
    "bench": "bench.bench",
    "serve": "serve.serve",
    "deploy": "deploy.deploy",
}
"""Each command: the module of this folder, and its function there."""


class Commands(TyperGroup):
    """No command waits for another's imports."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        file, function = COMMANDS[cmd_name].split(".")
        module = import_module(f"overpaint.cli.{file}")
        alone = typer.Typer(add_completion=False, rich_markup_mode="markdown")
        alone.command(cmd_name, epilog=module.EXAMPLES)(getattr(module, function))
        return typer.main.get_command(alone)


app = typer.Typer(
    name="overpaint",
    cls=Commands,
    help="Repaint images with Stable Diffusion engines that were built once, offline. No PyTorch.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"overpaint {version('overpaint')}")
        raise typer.Exit


@app.callback()
def _overpaint(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="And exit.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of what goes wrong.")
    ] = False,  # main looks for it itself: what goes wrong may do so before this is read
) -> None: ...
