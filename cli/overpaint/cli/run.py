"""`overpaint run`: the options. The work is `paint`'s, imported when it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from overpaint.runtime.settings import Settings

from .flags import with_settings
from .options import (
    BundleOption,
    DeviceOption,
    Force,
    Json,
    LikeOption,
    LoraOption,
    PrecisionOption,
)

EXAMPLES = """**Examples**

`overpaint run photo.jpg "a watercolour" -o out.png`

`overpaint run photo.jpg "winter, at night" --strength 0.7 --seed 7 -n 4 -o out/`

`overpaint run holiday/ "an oil painting" --bundle bundles/sd15 -o painted/`

`overpaint run holiday/ "an oil painting" -o painted/ --skip-existing`

`cat photo.jpg | overpaint run - "a watercolour" -o - > out.png`

`overpaint run photo.jpg "a watercolour" --bundle my.safetensors --lora ink.safetensors -o o.png`

`overpaint run photo.jpg "a (stormy:1.3) sea, [boats]" --prompt-weights -o out.png`

`overpaint run photo.jpg "a lynx" --bundle base/ --refiner refiner/ --hand-over 0.8 -o out.png`

`overpaint run --text-to-image "a lighthouse" --size 512x512 -o out.png`
"""


@with_settings
def run(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE... PROMPT",
            help="Pictures or folders of them, - is stdin; the last is the prompt.",
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="A .png, .jpg or .webp file; a folder for several pictures; - is stdout.",
        ),
    ],
    bundle: BundleOption = None,
    lora: LoraOption = None,
    like: LikeOption = None,
    text_to_image: Annotated[
        bool, typer.Option("--text-to-image", help="From the prompt alone; needs --size.")
    ] = False,
    *,
    settings: Settings,
    refiner: Annotated[
        Path | None, typer.Option(metavar="BUNDLE", help="Finishes what the bundle begins.")
    ] = None,
    hand_over: Annotated[
        float | None, typer.Option(help="The part of the way before --refiner; absent, 0.8.")
    ] = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "f32",
    low_memory: Annotated[
        bool, typer.Option("--low-memory", help="Open each engine for its use only.")
    ] = False,
    force: Force = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Go on with a folder run that was broken off.")
    ] = False,
    json: Json = False,
) -> None:
    """Repaint pictures as a prompt says, or paint one from a prompt alone."""

    from .paint import paint
    from .run_options import Options
    from .work import named

    options = Options(
        output=named(output, "--output"),
        bundle=bundle,
        lora=tuple(lora or ()),
        like=like,
        refiner=refiner,
        hand_over=hand_over,
        text_to_image=text_to_image,
        device=device,
        precision=precision,
        low_memory=low_memory,
        force=force,
        skip_existing=skip_existing,
        json=json,
    )
    paint(arguments, settings, options)
