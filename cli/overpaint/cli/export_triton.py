"""`overpaint export-triton`: a bundle as models of Triton Inference Server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import BundleArgument

EXAMPLES = """**Examples**

`overpaint export-triton bundles/sd15 -o models/`

`overpaint export-triton bundles/sd15 -o models/ --name painter --backend python`

Then: `tritonserver --model-repository=models`, with overpaint in its Python.
"""


def export_triton(
    bundle: BundleArgument = None,
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="REPO", help="The model repository.")
    ],
    name: Annotated[
        str | None, typer.Option(help="The model to ask; absent, the bundle's name.")
    ] = None,
    backend: Annotated[
        str,
        typer.Option(
            metavar="onnxruntime|python",
            help="Who runs the engines: Triton's ONNX Runtime backend, or ours in its Python one.",
        ),
    ] = "onnxruntime",
) -> None:
    """Write a model repository: the engines, and a model that paints with them."""
    from overpaint.bundle.format.open import open_bundle
    from overpaint.runtime.default_bundle import bundle_or_default
    from overpaint.scale.triton.repository import write_repository

    from .progress import progress_bar

    with progress_bar("checking the bundle", unit="bytes") as advance:
        opened = open_bundle(bundle_or_default(bundle), progress=advance)
    models = write_repository(opened, output, name or opened.manifest.name, backend)
    for model in models:
        typer.echo(f"{output / model}")
    typer.echo(f"Try: tritonserver --model-repository={output}, and ask {models[0]}", err=True)
