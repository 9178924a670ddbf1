"""`overpaint build`: engines built for this machine, kept in the bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .json_output import echo_json
from .options import Force, Json

if TYPE_CHECKING:
    from overpaint.bundle.format.bundle import Bundle
    from overpaint.engines.tensorrt.build import BuildOrder

EXAMPLES = """**Examples**

`overpaint build bundles/sd15 --engine tensorrt`

`overpaint build bundles/sd15 --engine tensorrt --shape 1x512x512 --shape 1x768x512`

`overpaint build bundles/sd15 --engine onnxruntime`

A TensorRT plan is for one GPU's compute capability and for the sizes named, and it is executable
code: run only plans that you trust. Building one needs the extra `tensorrt`, running one
`tensorrt-lean`.
"""


def build(
    bundle: Annotated[Path, typer.Argument(help="A bundle that you may write to.")],
    engine: Annotated[
        str, typer.Option(metavar="tensorrt|onnxruntime", help="What the engines are built for.")
    ],
    shape: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BxHxW",
            help="Pictures at once, height, width; absent, one of the checkpoint's own size. "
            "Repeatable. TensorRT only.",
        ),
    ] = None,
    exact_version: Annotated[
        bool,
        typer.Option(
            "--exact-version",
            help="For precisely the TensorRT that is installed, and not for the lean runtime.",
        ),
    ] = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Build a bundle's engines for this machine: TensorRT plans, or ONNX Runtime's own."""
    from overpaint.bundle.errors import UsageError
    from overpaint.bundle.format.open import open_bundle

    from .progress import progress_bar

    if engine not in ("tensorrt", "onnxruntime"):
        raise UsageError(f"--engine: expected tensorrt or onnxruntime; got {engine!r}")
    if engine == "onnxruntime" and (shape or exact_version):
        raise UsageError(
            "--shape, --exact-version: these are TensorRT's; an ONNX Runtime plan takes every size"
        )
    with progress_bar("checking the bundle", unit="bytes") as advance:
        opened = open_bundle(bundle, progress=advance)
    if engine == "onnxruntime":
        _onnxruntime(opened, json=json)
    else:
        _tensorrt(opened, shape or [], exact_version=exact_version, force=force, json=json)


def _onnxruntime(bundle: Bundle, *, json: bool) -> None:
    from overpaint.engines.onnxruntime.cpu.plans import build_plans

    from .progress import progress_bar

    with progress_bar("building") as advance:
        folder = build_plans(bundle, lambda name, done, total: advance(done, total, name))
    if json:
        echo_json({"engine": "onnxruntime", "folder": str(folder)})
    else:
        typer.echo(f"{folder}: built. overpaint run --bundle {bundle.folder} opens it from now on")


def _tensorrt(
    bundle: Bundle, shapes: list[str], *, exact_version: bool, force: bool, json: bool
) -> None:
    from overpaint.engines.tensorrt.build import build as build_plans
    from overpaint.engines.tensorrt.build import prepare_build
    from overpaint.engines.tensorrt.record import folder_of
    from overpaint.engines.tensorrt.shapes import PictureShape

    from .progress import progress_bar

    asked = [PictureShape.parse(text) for text in shapes]
    order = prepare_build(bundle, asked, exact_version=exact_version, force=force)
    if not json:
        _announce(order)
    try:
        with progress_bar("building", unit="percent") as advance:
            record = build_plans(order, advance)
    except KeyboardInterrupt:
        typer.echo("overpaint: stopped; nothing was written", err=True)
        raise
    if json:
        echo_json(record)
        return
    for name, plan in record.plans.items():
        sizes = f"{len(plan.profiles)} exact shape{'s' * (len(plan.profiles) > 1)}"
        typer.echo(f"{name}: {plan.size / 1e6:.1f} MB, {sizes}, {plan.seconds:.0f} s")
    folder = bundle.folder / folder_of(record.target)
    typer.echo(f"{folder}: built. Try: overpaint info {bundle.folder}")


def _announce(order: BuildOrder) -> None:
    """What it will build, and what that may take, before it begins."""
    guess = order.estimate
    sizes = ", ".join(str(shape) for shape in order.shapes)
    low, high = guess.minutes
    where = f"{order.library} on {order.gpu.name}"
    typer.echo(f"building {order.target} for {sizes} with {where}")
    typer.echo(
        f"guessed from the graphs' sizes, not measured: {max(1, round(low))} to "
        f"{max(2, round(high))} minutes, {guess.device / 1e9:.1f} GB on the GPU, "
        f"{guess.host / 1e9:.1f} GB of memory, {guess.plans / 1e6:.0f} MB of plans"
    )
    for warning in order.warnings:
        typer.echo(f"overpaint: warning: {warning}", err=True)
