"""The command line. Above all rooms: each command imports its room when it runs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from overpaint.bundle.errors import OverpaintError, UsageError

from . import bench, build, export, importing, info, run, serve, verify

app = typer.Typer(
    name="overpaint",
    help="Repaint images with Stable Diffusion engines that were built once, offline. No PyTorch.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.command(epilog=run.EXAMPLES)(run.run)
app.command(epilog=export.EXAMPLES)(export.export)
app.command("import", epilog=importing.EXAMPLES)(importing.import_)
app.command(epilog=build.EXAMPLES)(build.build)
app.command(epilog=info.EXAMPLES)(info.info)
app.command(epilog=verify.EXAMPLES)(verify.verify)
app.command(epilog=bench.EXAMPLES)(bench.bench)
app.command(epilog=serve.EXAMPLES)(serve.serve)


def main() -> None:
    """Run the command line: exit code 1 for what went wrong, 2 for what was asked wrongly."""
    try:
        app()
    except OverpaintError as error:
        typer.echo(f"overpaint: {error}", err=True)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)


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
) -> None: ...
