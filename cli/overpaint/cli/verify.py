"""`overpaint verify`: every hash and every graph, and exit code 1 with what is wrong."""

from __future__ import annotations

import typer

from .json_output import echo_json
from .options import BundleArgument, Json

EXAMPLES = """**Example**

`overpaint verify bundles/sd15`
"""


def verify(bundle: BundleArgument = None, json: Json = False) -> None:
    """Check every hash and every graph; exit code 1 with what is wrong."""
    from overpaint.bundle.format.verify import verify_bundle
    from overpaint.runtime.default_bundle import bundle_or_default

    from .progress import progress_bar

    folder = bundle_or_default(bundle)
    with progress_bar("hashing", unit="bytes") as advance:
        report = verify_bundle(folder, advance)
    if json:
        echo_json(report)
    else:
        for note in report.notes:
            typer.echo(f"overpaint: note: {note}", err=True)
        for problem in report.problems:
            typer.echo(f"overpaint: {problem}", err=True)
        if report.whole:
            size = f"{report.files} files, {report.total_bytes / 1e6:.1f} MB"
            typer.echo(f"{report.folder}: whole ({size})")
    if not report.whole:
        raise typer.Exit(1)
