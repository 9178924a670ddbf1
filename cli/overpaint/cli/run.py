"""`overpaint run`: the options. The work is `paint`'s, imported when it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from overpaint.bundle.errors import UsageError
from overpaint.runtime.settings import Settings
from overpaint.scale.places import place

from .flags import with_settings
from .options import (
    DeviceOption,
    Force,
    GpuMemoryOption,
    Json,
    LikeOption,
    LoraFolderOption,
    LoraModeOption,
    LoraOption,
    PrecisionOption,
    TinyVaeOption,
    UpscalerOption,
)

EXAMPLES = """**Examples**

`overpaint run photo.jpg "a watercolour" -o out.png`

`overpaint run photo.jpg "winter, at night" --strength 0.7 --seed 7 -n 4 -o out/`

`overpaint run holiday/ "an oil painting" --bundle bundles/sd15 -o painted/`

`overpaint run holiday/ "an oil painting" -o painted/ --skip-existing`

`cat photo.jpg | overpaint run - "a watercolour" -o - > out.png`

`overpaint run photo.jpg "a watercolour" --bundle my.safetensors --lora ink.safetensors -o o.png`

`overpaint run photo.jpg "a lake" --lora ink.safetensors:0.7 --lora-mode live -o out.png`

`overpaint run photo.jpg "a lake <lora:ink:0.7>" --lora-folder loras/ --prompt-weights -o out.png`

`overpaint run photo.jpg "a (stormy:1.3) sea, [boats]" --prompt-weights -o out.png`

`overpaint run photo.jpg "a <toy> on a shelf" --embedding "<toy>=toy.safetensors" -o out.png`

`overpaint run photo.jpg "a lynx" --bundle base/ --refiner refiner/ --hand-over 0.8 -o out.png`

`overpaint run photo.jpg "a rowing boat" --mask mask.png --mask-blur 4 -o out.png`

`overpaint run photo.jpg "winter" --control bundles/canny --control-from canny -o out.png`

`overpaint run photo.jpg "a loft" --control bundles/depth=d.png --control-scale 0.7 -o out.png`

`overpaint run photo.jpg "a wide sea" --extend 128,0,128,0 --strength 1 -o wide.png`

`overpaint run photo.jpg "a harbour" --ip-adapter ipa/ --ip-adapter-image monet.jpg -o o.png`

`overpaint run photo.jpg "winter" --tile auto --strength 0.3 -o out.png`

`overpaint run photo.jpg "a harbour" --upscale 2 --upscaler x4.onnx -o large.png`

`overpaint run --prompts rows.csv --bundle bundles/sd15 -o painted/`

`overpaint run s3://bucket/holiday "an oil painting" -o s3://bucket/painted`

`overpaint run s3://bucket/holiday "an oil painting" -o s3://bucket/painted --ray auto`

`overpaint run --repeat painted.png photo.jpg -o again.png`

`overpaint run --text-to-image "a lighthouse" --size 512x512 -o out.png`
"""


@with_settings
def run(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE... PROMPT",
            help="Pictures or folders of them, - is stdin; the last is the prompt.",
        ),
    ] = None,
    *,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="A .png, .jpg or .webp file; a folder for several pictures; - is stdout.",
        ),
    ],
    repeat: Annotated[
        Path | None,
        typer.Option(
            metavar="PAINTED.png", help="Paint it again, from IMAGE alone and what it says."
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="CSV or JSONL: image, prompt and options, a row a picture."
        ),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            metavar="BUNDLE",
            help="A bundle or its URL, or a checkpoint to import; absent, the embedded model.",
            parser=place,
        ),
    ] = None,
    lora: LoraOption = None,
    lora_mode: LoraModeOption = "fused",
    lora_folder: LoraFolderOption = None,
    embedding: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WORD=FILE", help="A textual inversion, and its word in prompts. Repeatable."
        ),
    ] = None,
    like: LikeOption = None,
    text_to_image: Annotated[
        bool, typer.Option("--text-to-image", help="From the prompt alone; needs --size.")
    ] = False,
    mask: Annotated[
        Path | None, typer.Option(metavar="PICTURE", help="White is repainted, black is kept.")
    ] = None,
    tiny_vae: TinyVaeOption = None,
    upscaler: UpscalerOption = None,
    ip_adapter: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="An IP-Adapter's bundle, to see references through."),
    ] = None,
    ip_adapter_image: Annotated[
        list[Path] | None,
        typer.Option(metavar="PICTURE", help="A reference picture. Repeatable."),
    ] = None,
    ip_adapter_mask: Annotated[
        list[Path] | None,
        typer.Option(metavar="PICTURE", help="Where it counts, white; one for each. Repeatable."),
    ] = None,
    reference_image: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PICTURE", help="A picture that FLUX.2 looks at beside IMAGE. Repeatable."
        ),
    ] = None,
    control: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FOLDER[=PICTURE]",
            help="A control network and what it is shown; absent, IMAGE. Repeatable.",
        ),
    ] = None,
    control_scale: Annotated[
        list[float] | None, typer.Option(help="How much it counts; absent, 1. One for each.")
    ] = None,
    control_start: Annotated[
        list[float] | None, typer.Option(help="It acts from this part of the steps; absent, 0.")
    ] = None,
    control_end: Annotated[
        list[float] | None, typer.Option(help="To this part of the steps; absent, 1.")
    ] = None,
    control_from: Annotated[
        list[str] | None,
        typer.Option(
            metavar="map|canny|tile",
            help="What the picture is: a map, or made into its edges, or shown as it is.",
        ),
    ] = None,
    control_kind: Annotated[
        list[int] | None, typer.Option(help="What a union network sees, counted from 0.")
    ] = None,
    settings: Settings,
    refiner: Annotated[
        Path | None,
        typer.Option(metavar="BUNDLE", help="Finishes what the bundle begins.", parser=place),
    ] = None,
    hand_over: Annotated[
        float | None, typer.Option(help="The part of the way before --refiner; absent, 0.8.")
    ] = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "f32",
    gpu_memory: GpuMemoryOption = None,
    low_memory: Annotated[
        bool, typer.Option("--low-memory", help="Open each engine for its use only.")
    ] = False,
    force: Force = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Go on with a folder run that was broken off.")
    ] = False,
    json: Json = False,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A line a picture, .jsonl or .parquet; absent, OUT/report.jsonl with --ray.",
            parser=place,
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="A Ray cluster whose workers paint: local, begun here; auto, that of this "
            "machine; or HOST:PORT.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Of the cluster; absent, one for each of its GPUs, or nodes."),
    ] = None,
    patience: Annotated[
        float | None,
        typer.Option(help="Seconds for one picture, after which its worker is replaced; 3600."),
    ] = None,
) -> None:
    """Repaint pictures as a prompt says, or paint one from a prompt alone."""

    from overpaint.engines.host.sizes import parse_bytes

    from .controls import read_controls
    from .paint import paint
    from .repeat import Repeat
    from .rows import read_rows
    from .run_options import Options, by_mode, on_ray, report_of, words_of
    from .work import named

    controls = read_controls(
        control or (),
        control_scale or (),
        control_start or (),
        control_end or (),
        control_from or (),
        control_kind or (),
    )
    again = None
    if repeat is not None:
        if hand_over is not None or text_to_image or prompts is not None:
            told = "--hand-over, --text-to-image, --prompts"
            raise UsageError(f"{told}: leave them out; --repeat knows")
        again = Repeat.of(repeat)
        again.check_mask(mask)
        again.check_references("ip_adapter_image", ip_adapter_image or [])
        again.check_references("reference_image", reference_image or [])
        controls = again.controls(controls)
        arguments, settings = again.arguments(arguments or []), again.settings(settings)
        text_to_image, hand_over = again.text_to_image, again.hand_over
    elif not arguments and prompts is None:
        raise UsageError("expected IMAGE... PROMPT, or --repeat PAINTED.png; got neither")
    cluster = on_ray(ray, workers, patience)
    fused, live = by_mode(lora or (), lora_mode)
    options = Options(
        output=(to := named(output, "--output")),
        bundle=bundle,
        lora=fused,
        live=live,
        lora_folder=lora_folder,
        like=like,
        embedding=words_of(embedding or ()),
        refiner=refiner,
        hand_over=hand_over,
        mask=mask,
        tiny_vae=tiny_vae,
        upscaler=upscaler,
        rows=() if prompts is None else read_rows(prompts),
        ip_adapter=ip_adapter,
        ip_adapter_image=tuple(ip_adapter_image or ()),
        ip_adapter_mask=tuple(ip_adapter_mask or ()),
        reference_image=tuple(reference_image or ()),
        controls=controls,
        text_to_image=text_to_image,
        device=device,
        precision=precision,
        gpu_memory=parse_bytes("--gpu-memory", gpu_memory) if gpu_memory else None,
        low_memory=low_memory,
        force=force,
        skip_existing=skip_existing,
        json=json,
        again=again,
        report=report_of(report, to, cluster),
        ray=cluster,
    )
    paint(arguments or [], settings, options)
