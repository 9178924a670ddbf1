"""`overpaint import` and `export` of an IP-Adapter, which are one: neither needs torch."""

from __future__ import annotations

from pathlib import Path

import typer

from .json_output import echo_json
from .progress import progress_bar


def import_adapter(
    source: str,
    output: Path,
    *,
    image_encoder: Path | None = None,
    link: bool | None = None,
    dtype: str = "float32",
    force: bool = False,
) -> None:
    """Make a bundle of an adapter's file or folder, and say what it is."""
    from overpaint.bundle.ip_adapter.make import import_adapter as make

    with progress_bar("hashing", unit="bytes") as advance:
        made = make(
            source,
            output,
            image_encoder_folder=image_encoder,
            link="auto" if link is None else "link" if link else "copy",
            dtype=dtype,
            force=force,
            progress=advance,
        )
    typer.echo(
        f"{output}: {made.name}, a {made.kind} IP-Adapter of {made.tokens} tokens of width "
        f"{made.width}"
    )
    typer.echo(
        f"Try: overpaint run photo.jpg PROMPT --bundle BUNDLE --ip-adapter {output} "
        "--ip-adapter-image PICTURE -o out.png"
    )


def is_adapter_bundle(folder: Path) -> bool:
    """Whether a folder's manifest is an IP-Adapter's; what is wrong with it others say better."""
    from overpaint.bundle.errors import BundleError
    from overpaint.bundle.format.adapter import IpAdapter
    from overpaint.bundle.format.manifest_file import load

    try:
        return isinstance(load(folder), IpAdapter)
    except BundleError:
        return False


def tell_adapter(folder: Path, *, json: bool) -> None:
    """`overpaint info` of an adapter's bundle."""
    from overpaint.bundle.ip_adapter.bundle import open_adapter

    what = open_adapter(folder).manifest
    if json:
        echo_json(what)
        return
    size = sum(file.size for file in what.files.values()) / 1e6
    seen = {"base": "a picture as one vector", "plus": "a picture patch by patch"}[what.kind]
    typer.echo(f"{what.name}: IP-Adapter ({what.kind}), sees {seen}")
    typer.echo(f"  size         {size:.1f} MB in {len(what.files)} files")
    typer.echo(f"  folder       {folder}")
    typer.echo(f"  made from    {what.source.name} (sha256 {what.source.sha256[:16]}…)")
    typer.echo(
        f"  fits         denoisers of {len(what.attentions)} attentions to text of width "
        f"{what.width}"
    )
    typer.echo(f"  tokens       {what.tokens} for each picture")
    for name, part in what.components.items():
        typer.echo(f"  component    {name}, {part.compute_dtype}: {part.inputs[0]}")
