"""`overpaint run`: the options. The work is `paint`'s, imported when it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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

`overpaint run photo.jpg "a watercolour" --bundle my.safetensors --lora ink.safetensors -o o.png`

`overpaint run photo.jpg "a (stormy:1.3) sea, [boats]" --prompt-weights -o out.png`

`overpaint run photo.jpg "a lynx" --bundle base/ --refiner refiner/ --hand-over 0.8 -o out.png`

`overpaint run --text-to-image "a lighthouse" --size 512x512 -o out.png`
"""


def run(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE... PROMPT", help="Pictures or folders of them; the last is the prompt."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="A .png, .jpg or .webp file; a folder for several pictures."
        ),
    ],
    bundle: BundleOption = None,
    lora: LoraOption = None,
    like: LikeOption = None,
    text_to_image: Annotated[
        bool, typer.Option("--text-to-image", help="From the prompt alone; needs --size.")
    ] = False,
    strength: Annotated[
        float | None, typer.Option(help="0 keeps the picture, 1 repaints all of it.")
    ] = None,
    reference_strength: Annotated[
        float | None, typer.Option(help="The other way round: strength is 1 minus this.")
    ] = None,
    mode: Annotated[
        str | None, typer.Option(metavar="modify|copy", help="copy stays close to the picture.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(metavar="fast|high", help="15 or 25 steps, and their guidance.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps of the schedule.")] = None,
    steps_mode: Annotated[
        str | None,
        typer.Option(
            metavar="diffusers|exact", help="Run steps x strength of them, or exactly --steps."
        ),
    ] = None,
    guidance_scale: Annotated[
        float | None, typer.Option(help="How strictly the prompt is followed; 1 is off.")
    ] = None,
    guidance_rescale: Annotated[
        float, typer.Option(help="0 to 1: against colours that guidance washes out.")
    ] = 0.0,
    negative_prompt: Annotated[
        str | None, typer.Option(help="What the picture should not show.")
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(help="euler, euler-a, ddim, pndm, dpmpp-2m …; absent, the checkpoint's own."),
    ] = None,
    sigmas: Annotated[
        str | None, typer.Option(metavar="default|karras|exponential|beta", help="Noise levels.")
    ] = None,
    eta: Annotated[
        float, typer.Option(help="0 to 1: fresh noise in each step of ddim, gamma of tcd.")
    ] = 0.0,
    denoising_start: Annotated[
        float | None, typer.Option(help="Begin at this part of the way, and add no noise.")
    ] = None,
    denoising_end: Annotated[
        float | None, typer.Option(help="Stop at this part of the way from noise to picture.")
    ] = None,
    refiner: Annotated[
        Path | None, typer.Option(metavar="BUNDLE", help="Finishes what the bundle begins.")
    ] = None,
    hand_over: Annotated[
        float | None, typer.Option(help="The part of the way before --refiner; absent, 0.8.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Absent, a random one, which is printed.")
    ] = None,
    rng: Annotated[
        str | None, typer.Option(metavar="torch|numpy", help="Whose random numbers.")
    ] = None,
    n: Annotated[int, typer.Option("-n", help="Pictures from each; picture i has seed + i.")] = 1,
    size: Annotated[
        str | None, typer.Option(metavar="WIDTHxHEIGHT", help="Absent, the picture's own.")
    ] = None,
    resize: Annotated[
        str, typer.Option(metavar="stretch|crop|pad", help="How a picture meets the size.")
    ] = "stretch",
    max_sequence_length: Annotated[
        int | None, typer.Option(help="How many tokens SD 3's T5 reads, 1 to 512; absent, 256.")
    ] = None,
    prompt_chunks: Annotated[
        bool, typer.Option("--prompt-chunks", help="Chunk a long prompt instead of cutting it.")
    ] = False,
    prompt_weights: Annotated[
        bool, typer.Option("--prompt-weights", help="Read (word:1.2), [word] and BREAK.")
    ] = False,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "f32",
    low_memory: Annotated[
        bool, typer.Option("--low-memory", help="Open each engine for its use only.")
    ] = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Repaint pictures as a prompt says, or paint one from a prompt alone."""
    from overpaint.runtime.settings import Settings

    from .paint import Options, paint
    from .sizes import parse_size

    settings = Settings(
        strength=strength,
        reference_strength=reference_strength,
        mode=mode,
        preset=preset,
        steps=steps,
        steps_mode=steps_mode,
        guidance_scale=guidance_scale,
        guidance_rescale=guidance_rescale,
        negative_prompt=negative_prompt,
        sampler=sampler,
        sigmas=sigmas,
        eta=eta,
        denoising_start=denoising_start,
        denoising_end=denoising_end,
        seed=seed,
        rng=rng,
        n=n,
        size=None if size is None else parse_size(size),
        resize=resize,
        max_sequence_length=max_sequence_length,
        prompt_chunks=prompt_chunks,
        prompt_weights=prompt_weights,
    )
    options = Options(
        output=output,
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
        json=json,
    )
    paint(arguments, settings, options)
