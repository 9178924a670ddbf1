"""`overpaint bench`: the options. The work is overpaint.bench's, imported when it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .json_output import echo_json
from .options import DEVICES, BundleArgument, Json

EXAMPLES = """**Examples**

`overpaint bench`

`overpaint bench bundles/sd15 --steps 20 --strength 0.6 --repeats 20 --plot sd15.png`

`overpaint bench bundles/sd15 --against diffusers,compile,optimum --json > sd15.json`

`overpaint bench bundles/sd15 --steps 10,20,40 --size 512x512,384x384,256x256 --images 1,2,4`

`overpaint bench bundles/sd15 --device openvino --precision f32,bf16`

`overpaint bench bundles/sd15 --fidelity exact,balanced,draft`

`overpaint bench --live --steps 1 --strength 0.5 --repeats 200 --against diffusers`

`overpaint bench --compare last-week.json`

`overpaint bench --footprint environments/`

Of a list, the first value is the base, and each further one is measured with all else as in the
base. Exit code 3: slower than the report given to --compare.
"""
PROMPT = "a lighthouse in a storm, oil on canvas"


def bench(
    bundle: BundleArgument = None,
    image: Annotated[
        Path | None, typer.Option(help="The picture to repaint; absent, a drawn one.")
    ] = None,
    prompt: Annotated[str, typer.Option(help="What everybody paints.")] = PROMPT,
    size: Annotated[
        str | None, typer.Option(metavar="WxH[,…]", help="Absent, what the model was trained at.")
    ] = None,
    steps: Annotated[str | None, typer.Option(metavar="N[,…]", help="Steps asked for.")] = None,
    strength: Annotated[
        str | None, typer.Option(metavar="0..1[,…]", help="Share of the steps that is executed.")
    ] = None,
    images: Annotated[
        str | None, typer.Option("--images", "-n", metavar="N[,…]", help="Pictures in one run.")
    ] = None,
    sampler: Annotated[
        str | None, typer.Option(metavar="NAME[,…]", help="Absent, the checkpoint's own.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME[,…]", help=f"{DEVICES}."),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="f32|bf16[,…]", help="bf16 needs --device openvino; torch's peers follow."
        ),
    ] = None,
    guidance_scale: Annotated[
        float | None, typer.Option(help="1 is off, and half the work; absent, the bundle's own.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Picture i has seed + i.")] = 0,
    warmup: Annotated[int, typer.Option(help="Runs that do not count.")] = 2,
    repeats: Annotated[int, typer.Option(help="Runs that do.")] = 20,
    cold: Annotated[int, typer.Option(help="Processes started for the cold start.")] = 3,
    fidelity: Annotated[
        str | None,
        typer.Option(
            metavar="exact,balanced,draft", help="Our own levels, side by side with exact."
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="PEER[,…]",
            help="diffusers, compile (torch.compile), optimum, openvino-genai, sdcpp "
            "(stable-diffusion.cpp), streamdiffusion (with --live): in turn, in processes of "
            "their own.",
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="A diffusers folder for the torch peers; absent, the bundle's weights."),
    ] = None,
    optimum_python: Annotated[
        str | None,
        typer.Option(
            envvar="OVERPAINT_OPTIMUM_PYTHON", help="The interpreter of optimum's environment."
        ),
    ] = None,
    limits: Annotated[
        bool, typer.Option("--limits", help="Each engine's floor on this machine.")
    ] = False,
    live: Annotated[
        bool,
        typer.Option(
            "--live", help="Frames a second: --steps are run for each of --repeats frames."
        ),
    ] = False,
    footprint: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Disk, imports and memory of each contender's environment, made in FOLDER (3 GB).",
        ),
    ] = None,
    compare: Annotated[
        Path | None, typer.Option(metavar="OLD.json", help="A verdict against an earlier report.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Stages, steps and distribution.")
    ] = None,
    json: Json = False,
) -> None:
    """Measure latency, memory and cold start, alone or against peers that do the same work."""
    from overpaint.bench.command import Asked
    from overpaint.bench.command import bench as measure
    from overpaint.bench.compare import SLOWER_EXIT
    from overpaint.bench.records import Report
    from overpaint.bench.sweep import Axes, listed

    from .progress import progress_bar
    from .sizes import parse_size

    asked = Asked(
        bundle=bundle,
        image=image,
        prompt=prompt,
        axes=Axes(
            size=listed("--size", size, parse_size, "512x512,256x256"),
            steps=listed("--steps", steps, int, "10,20"),
            strength=listed("--strength", strength, float, "0.3,0.6"),
            images=listed("--images", images, int, "1,2,4"),
            sampler=listed("--sampler", sampler, str, "euler,ddim"),
            device=listed("--device", device, str, "cpu,openvino"),
            precision=listed("--precision", precision, str, "f32,bf16"),
        ),
        guidance_scale=guidance_scale,
        seed=seed,
        warmup=warmup,
        repeats=repeats,
        cold=cold,
        against=listed("--against", against, str, "diffusers,compile"),
        checkpoint=checkpoint,
        optimum_python=optimum_python,
        limits=limits,
        footprint=footprint,
        compare=compare,
        plot=plot,
        live=live,
        fidelity=listed("--fidelity", fidelity, str, "exact,balanced,draft"),
    )
    with progress_bar("bench") as advance:
        report = measure(asked, advance)
    if json:
        echo_json(report)
    else:
        from rich.console import Console

        from overpaint.bench.tables import show

        show(report, Console())
    if isinstance(report, Report) and any(one.verdict == "slower" for one in report.compared):
        raise typer.Exit(SLOWER_EXIT)
