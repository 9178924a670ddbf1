"""`overpaint export`: a checkpoint becomes a bundle. The one command that needs torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from overpaint.bundle.errors import UsageError

from .adapters import import_adapter
from .options import Force, LoraOption
from .tiny_vae import refuse_tiny_vae

if TYPE_CHECKING:
    from overpaint.bundle.format.manifest import Component

EXAMPLES = """**Examples**

`overpaint export checkpoints/sd15 -o bundles/sd15`

`overpaint export checkpoints/canny -o bundles/canny`, of a ControlNet's folder

`overpaint export stable-diffusion-v1-5/stable-diffusion-v1-5 -o bundles/sd15 --store float16`
"""


def export(
    checkpoint: Annotated[str, typer.Argument(help="A diffusers folder, or a hub id.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle, a new folder.")],
    dtype: Annotated[
        str, typer.Option(metavar="float32|float16", help="What the engines compute in.")
    ] = "float32",
    store: Annotated[
        str | None,
        typer.Option(
            metavar="float32|float16|bfloat16", help="Convert the weights; absent, link them."
        ),
    ] = None,
    lora: LoraOption = None,
    parity: Annotated[
        str | None,
        typer.Option(
            metavar="checkpoint|reduced",
            help="Compare with torch on the checkpoint's weights, or at reduced size; absent, on "
            "the weights if they fit into memory.",
        ),
    ] = None,
    force: Force = False,
) -> None:
    """Turn a checkpoint into a bundle of ONNX engines. Needs the extra `export`, with torch."""
    from overpaint.bundle.control.importing import is_control_folder
    from overpaint.bundle.ip_adapter.make import holds_adapter

    refuse_tiny_vae(checkpoint)
    if holds_adapter(checkpoint):  # whose graphs are written without torch
        if store or lora or parity:
            raise UsageError("--store, --lora, --parity: an IP-Adapter has no use for them")
        import_adapter(checkpoint, output, dtype=dtype, force=force)
        return
    from overpaint.bundle.importing import LoraChoice
    from overpaint.export import export_checkpoint
    from overpaint.export.control import export_controlnet

    from .progress import progress_bar

    if is_control_folder(checkpoint):
        if lora:
            raise UsageError("--lora: is fused into a checkpoint, and this is a control network")
        with progress_bar("export") as advance:
            network = export_controlnet(
                checkpoint,
                output,
                dtype=dtype,
                store=store,
                parity=parity,
                force=force,
                progress=advance,
            )
        _tell(network.components)
        typer.echo(f"{output}: {network.name}, a control network for {network.family}")
        typer.echo(f"Try: overpaint run --control {output}")
        return
    with progress_bar("export") as advance:
        manifest = export_checkpoint(
            checkpoint,
            output,
            dtype=dtype,
            store=store,
            loras=[LoraChoice.parse(text) for text in lora or ()],
            parity=parity,
            force=force,
            progress=advance,
        )
    _tell(manifest.components)
    typer.echo(f"{output}: {manifest.name}, {manifest.family}. Try: overpaint info {output}")


def _tell(components: Mapping[str, Component]) -> None:
    for name, component in components.items():
        if measured := component.parity:
            error = measured.max_abs_error / measured.max_abs_reference
            typer.echo(f"{name}: error {error:.1e} of at most {measured.limit:.0e}")
