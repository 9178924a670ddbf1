"""`overpaint grid`: one picture, painted with every pair of two options' values, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from overpaint.bundle.errors import UsageError
from overpaint.runtime.settings import Settings

from .flags import with_settings
from .options import BundleOption, DeviceOption, Force, LoraOption

if TYPE_CHECKING:
    from PIL import PngImagePlugin

    from overpaint.runtime.result import Result

    from .axes import Axis

EXAMPLES = """**Examples**

`overpaint grid photo.jpg "a watercolour" --x strength=0.2,0.4,0.6 -o grid.png`

`overpaint grid photo.jpg "a watercolour" --x steps=10,20 --y sampler=euler,dpmpp-2m -o grid.png`

`overpaint grid --text-to-image "a lake" --size 512x512 --x seed=1,2,3,4 -o seeds.png`
"""


@with_settings
def grid(
    arguments: Annotated[
        list[str], typer.Argument(metavar="IMAGE PROMPT", help="A picture, and the prompt.")
    ],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.png", help="A PNG.")],
    x: Annotated[str, typer.Option("--x", metavar="OPTION=VALUE,...", help="What differs across.")],
    y: Annotated[
        str | None, typer.Option("--y", metavar="OPTION=VALUE,...", help="And what down.")
    ] = None,
    text_to_image: Annotated[
        bool, typer.Option("--text-to-image", help="From the prompt alone; needs --size.")
    ] = False,
    bundle: BundleOption = None,
    lora: LoraOption = None,
    device: DeviceOption = "auto",
    settings: Settings,
    force: Force = False,
) -> None:
    """Compare: a labelled grid of one picture painted with several values of one option or two.

    One set of engines paints all cells, with one seed unless an axis is the seed. The PNG carries
    every cell's parameters.
    """
    from dataclasses import replace

    from overpaint.runtime.image import read
    from overpaint.runtime.pipeline import Img2Img
    from overpaint.runtime.request import Request
    from overpaint.runtime.resolved import random_seed
    from overpaint.runtime.result import Complete

    from .axes import read_axis
    from .output import refuse_existing, save
    from .progress import progress_bar
    from .sheet import sheet

    *images, prompt = arguments
    if len(images) != (0 if text_to_image else 1):
        raise UsageError(
            "expected PROMPT alone with --text-to-image, and else IMAGE PROMPT; got "
            f"{len(arguments)} argument(s)"
        )
    if output.suffix.lower() != ".png":
        raise UsageError(f"--output {output}: expected a file that ends in .png")
    if settings.pictures != 1:
        raise UsageError("-n: a cell holds one picture; for several seeds, --x seed=1,2,3")
    across, down = read_axis("--x", x), None if y is None else read_axis("--y", y)
    if down is not None and down.name == across.name:
        raise UsageError(f"--y: {across.name} is what --x runs over; name another option")
    refuse_existing(output, force=force)
    if settings.seed is None:
        settings = replace(settings, seed=random_seed())
    rows = [settings] if down is None else down.along(settings)
    asked = [across.along(row) for row in rows]
    picture = read(images[0]).image if images else None
    cells, painted = sum(map(len, asked)), 0
    results: list[list[Result]] = []
    with (
        Img2Img.open(bundle, lora=lora or (), device=device) as pipe,
        progress_bar("cells", unit="percent") as advance,
    ):
        for row in asked:
            results.append([])
            for one in row:
                for event in pipe.events(Request(picture, prompt, one)):
                    if isinstance(event, Complete):
                        results[-1].append(event.result)
                    else:
                        part = painted + event.index / event.total
                        doing = f"cell {painted + 1} of {cells}"
                        advance(round(1000 * part), 1000 * cells, doing)
                painted += 1
    for warning in dict.fromkeys(w for row in results for one in row for w in one.warnings):
        typer.echo(f"overpaint: warning: {warning}", err=True)
    pictures = [[one.images[0] for one in row] for row in results]
    made = sheet(pictures, across.labels(), down.labels() if down else [])
    save(_encoded(made, _told(prompt, across, down, results)), output, force=force)
    typer.echo(f"{output}  {cells} pictures, seed {settings.seed}")


def _told(
    prompt: str, across: Axis, down: Axis | None, results: list[list[Result]]
) -> PngImagePlugin.PngInfo:
    """What the PNG says: the axes, and all of each cell."""
    import json
    from importlib.metadata import version

    from PIL import PngImagePlugin

    from overpaint.runtime.metadata import CHUNK

    axes = {"x": {across.name: across.values}}
    if down is not None:
        axes["y"] = {down.name: down.values}
    said = {
        "version": version("overpaint"),
        "prompt": prompt,
        "grid": axes,
        "cells": [[one.parameters.as_record() for one in row] for row in results],
    }
    info = PngImagePlugin.PngInfo()
    info.add_itxt(CHUNK, json.dumps(said, ensure_ascii=False))
    return info


def _encoded(picture: object, info: PngImagePlugin.PngInfo) -> memoryview:
    import io

    from PIL import Image

    assert isinstance(picture, Image.Image)
    data = io.BytesIO()
    picture.save(data, "PNG", pnginfo=info)
    return data.getbuffer()
