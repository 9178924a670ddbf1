"""`overpaint live`: the options. The work is `play`'s, imported when it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from overpaint.runtime.live.line import AHEAD
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
    TinyVaeOption,
)

EXAMPLES = """**Examples**

`overpaint live walk.mp4 "a winter night" --strength 0.5 --steps 2 -o night.mp4`

`overpaint live frames/ "a watercolour" --bundle bundles/sd-turbo --steps 1 -o painted/`

`overpaint live drawing.gif "mountains at sunset" --similar 0.5 -o landscape.gif`

`overpaint live camera "autumn in the hills" --size 128x128 -o out.mp4`  (Ctrl-C ends it)

All of `--steps` are run, whatever the strength; where none are asked for, 4, without guidance, by
TCD where the checkpoint can. Films and cameras need PyAV: pip install '.[video]'.
"""


@with_settings
def live(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A film, a folder of pictures, an animated picture; camera, or camera:1.",
        ),
    ],
    prompt: Annotated[str, typer.Argument(help="What frames are repainted as.")],
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="PATH", help="A folder, .gif, .webp, .mp4, .mkv or .webm."
        ),
    ],
    bundle: BundleOption = None,
    lora: LoraOption = None,
    like: LikeOption = None,
    tiny_vae: TinyVaeOption = None,
    similar: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="LEVELS",
            help="Show a frame that differs by less from the last, of 255, as that one was.",
        ),
    ] = None,
    residual_guidance: Annotated[
        float, typer.Option(min=0, help="Away from the frame itself, at no cost; 1 is off.")
    ] = 1.0,
    ahead: Annotated[
        int,
        typer.Option(
            min=1,
            max=3,
            help="Frames under way at once: 1 is the least latency, 3 the most frames.",
        ),
    ] = AHEAD,
    rate: Annotated[
        float | None, typer.Option(min=1, max=240, help="Frames a second of OUT; absent, SOURCE's.")
    ] = None,
    settings: Settings,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "f32",
    force: Force = False,
    json: Json = False,
) -> None:
    """Repaint frames as they come: text, schedule and noise are fixed once, and frames overlap."""
    from .play import Play, play
    from .work import named

    play(
        Play(
            source=source,
            prompt=prompt,
            output=named(str(output), "--output"),
            settings=settings,
            similar=similar,
            residual_guidance=residual_guidance,
            ahead=ahead,
            rate=rate,
            force=force,
            json=json,
        ),
        bundle=bundle,
        lora=tuple(lora or ()),
        like=like,
        tiny_vae=tiny_vae,
        device=device,
        precision=precision,
    )
