"""`overpaint build`: engines built for this machine, kept in the bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from .json_output import echo_json
from .options import Force, Json

if TYPE_CHECKING:
    from overpaint.bundle.format.bundle import Bundle
    from overpaint.engines.tensorrt.build import BuildOrder

ENGINES: Final = ("tensorrt-rtx", "tensorrt", "onnxruntime", "openvino")
EXAMPLES = """**Examples**

`overpaint build bundles/sd15 --engine tensorrt-rtx`

`overpaint build bundles/sd15 --engine tensorrt-rtx --weightless`

`overpaint build bundles/sd15 --engine tensorrt-rtx --sizes 1x256x256:1x512x512:4x1024x1024`

`overpaint build bundles/sd15 --engine tensorrt --shape 1x512x512 --shape 1x768x512`

`overpaint build bundles/sd15 --control bundles/canny --engine tensorrt-rtx`

`overpaint build bundles/sd15 --engine onnxruntime`

`overpaint build bundles/sd15 --engine openvino --precision int8`

`overpaint build bundles/sd15 --engine tensorrt-rtx --ip-adapter bundles/ip-adapter`

Plans of TensorRT for RTX serve RTX cards and a range of sizes, and are built on any machine, with a
GPU or without, with the extra `tensorrt-rtx`. Built `--weightless` they lie in your cache folder
and run every bundle of the same architecture. A TensorRT plan is for the GPU in the machine and for
the sizes named; building one needs the extra `tensorrt`, running one `tensorrt-lean`. Both are
executable code: run only plans that you trust.
"""

TAKEN_BY: Final = {
    "--shape": ("tensorrt", "tensorrt-rtx"),
    "--sizes": ("tensorrt-rtx",),
    "--compute-capability": ("tensorrt-rtx",),
    "--weight-streaming": ("tensorrt-rtx",),
    "--weightless": ("tensorrt-rtx",),
    "--exact-version": ("tensorrt",),
    "--precision": ("openvino",),
}
WHY: Final = {
    "onnxruntime": "an ONNX Runtime plan takes every size",
    "openvino": "what OpenVINO runs in 8 bits takes every size",
    "tensorrt": "a TensorRT plan is for exact sizes and the GPU in this machine",
    "tensorrt-rtx": "a plan of TensorRT for RTX is always for the version that built it",
}


def build(
    bundle: Annotated[Path, typer.Argument(help="A bundle that you may write to.")],
    engine: Annotated[
        str, typer.Option(metavar="|".join(ENGINES), help="What the engines are built for.")
    ],
    ip_adapter: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Build the bundle as it sees reference pictures through this IP-Adapter's bundle.",
        ),
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BxHxW",
            help="Pictures at once, height, width; absent, tensorrt takes one of the checkpoint's "
            "own size. Repeatable.",
        ),
    ] = None,
    sizes: Annotated[
        str | None,
        typer.Option(
            metavar="MIN:OPT:MAX",
            help="All sizes from MIN to MAX, each a side or BxHxW; absent, from half to twice the "
            "checkpoint's own. tensorrt-rtx only.",
        ),
    ] = None,
    compute_capability: Annotated[
        list[str] | None,
        typer.Option(
            metavar="X.Y",
            help="Of the cards to build for; absent, 8.0, 8.6, 8.9 and 12.0. Repeatable. "
            "tensorrt-rtx only.",
        ),
    ] = None,
    weight_streaming: Annotated[
        bool,
        typer.Option(
            "--weight-streaming",
            help="Let --gpu-memory say how much of the weights lies on the GPU. tensorrt-rtx only.",
        ),
    ] = False,
    weightless: Annotated[
        bool,
        typer.Option(
            "--weightless",
            help="Without weights, into your cache folder: one build for every fine-tune of this "
            "architecture, filled from each bundle as it is opened. tensorrt-rtx only.",
        ),
    ] = False,
    exact_version: Annotated[
        bool,
        typer.Option(
            "--exact-version",
            help="For precisely the TensorRT that is installed, and not for the lean runtime. "
            "tensorrt only.",
        ),
    ] = False,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="int8",
            help="The denoiser in 8 bits, calibrated by a run of the bundle. openvino only, needs "
            "the extra quantise.",
        ),
    ] = None,
    control: Annotated[
        list[Path] | None,
        typer.Option(help="A control network to build beside it, into your cache. Repeatable."),
    ] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Build a bundle's engines: plans of TensorRT for RTX or TensorRT, ONNX Runtime's own,
    or OpenVINO's in 8 bits."""
    from overpaint.bundle.errors import UsageError
    from overpaint.bundle.format.open import open_bundle
    from overpaint.runtime.control.opening import with_control
    from overpaint.runtime.ip_adapter.open import open_seeing

    from .progress import progress_bar

    if engine not in ENGINES:
        raise UsageError(f"--engine: expected {', '.join(ENGINES)}; got {engine!r}")
    given = {
        "--shape": bool(shape),
        "--sizes": sizes is not None,
        "--compute-capability": bool(compute_capability),
        "--weight-streaming": weight_streaming,
        "--weightless": weightless,
        "--exact-version": exact_version,
        "--precision": precision is not None,
    }
    for option in (option for option, said in given.items() if said):
        if engine not in TAKEN_BY[option]:
            raise UsageError(
                f"{option}: this is for --engine {' or '.join(TAKEN_BY[option])}; {WHY[engine]}"
            )
    if engine == "openvino" and precision != "int8":
        raise UsageError(f"--precision: --engine openvino builds int8 only; got {precision}")
    if shape and sizes:
        raise UsageError("--shape, --sizes: expected one of them: exact sizes, or a range")
    with progress_bar("checking the bundle", unit="bytes") as advance:
        opened = with_control(open_bundle(bundle, progress=advance), control or (), advance)
        if ip_adapter is not None:
            opened = open_seeing(opened, ip_adapter, advance)
    if engine == "openvino":
        _openvino(opened, json=json)
        return
    if engine == "onnxruntime":
        _onnxruntime(opened, json=json)
        return
    from overpaint.engines.tensorrt.build import prepare_build, prepare_rtx_build
    from overpaint.engines.tensorrt.shapes import PictureRange, PictureShape

    exact = [PictureShape.parse(text) for text in shape or ()]
    if engine == "tensorrt":
        order = prepare_build(opened, exact, exact_version=exact_version, force=force)
    else:
        order = prepare_rtx_build(
            opened,
            exact,
            PictureRange.parse(sizes) if sizes else None,
            compute_capabilities=compute_capability or (),
            weight_streaming=weight_streaming,
            weightless=weightless,
            force=force,
        )
    _tensorrt(order, json=json)


def _onnxruntime(bundle: Bundle, *, json: bool) -> None:
    from overpaint.engines.onnxruntime.cpu.plans import build_plans

    from .progress import progress_bar

    with progress_bar("building") as advance:
        folder = build_plans(bundle, lambda name, done, total: advance(done, total, name))
    if json:
        echo_json({"engine": "onnxruntime", "folder": str(folder)})
    else:
        typer.echo(f"{folder}: built. overpaint run --bundle {bundle.folder} opens it from now on")


def _openvino(bundle: Bundle, *, json: bool) -> None:
    from overpaint.runtime.quantise import build_int8

    from .progress import progress_bar

    with progress_bar("calibrating, quantising, comparing", unit="steps") as advance:
        record = build_int8(bundle, advance)
    if json:
        echo_json(record)
    else:
        typer.echo(
            f"{bundle.folder}: built, {record.psnr_db:.1f} dB against f32. "
            f"Try: overpaint run --bundle {bundle.folder} --device openvino --precision int8"
        )


def _tensorrt(order: BuildOrder, *, json: bool) -> None:
    from overpaint.engines.tensorrt.build import build as build_plans

    from .progress import progress_bar

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
        exact = all(one.smallest == one.largest for p in plan.profiles for one in p.values())
        count = len(plan.profiles)
        sizes = f"{count} exact shape{'s' * (count > 1)}" if exact else "a range of shapes"
        typer.echo(f"{name}: {plan.size / 1e6:.1f} MB, {sizes}, {plan.seconds:.0f} s")
    typer.echo(f"{order.folder}: built. Try: overpaint info {order.bundle.folder}")


def _announce(order: BuildOrder) -> None:
    """What it will build, and what that may take, before it begins."""
    from overpaint.engines.tensorrt.cards import named

    guess = order.estimate
    sizes = ", ".join(str(shape) for shape in order.shapes)
    low, high = guess.minutes
    kind = "" if order.weights == "inside" else ", without weights"
    where = f" on {order.gpu.name}" if order.gpu else f", for {named(order.compute_capabilities)}"
    on_gpu = "" if guess.device is None else f"{guess.device / 1e9:.1f} GB on the GPU, "
    typer.echo(f"building {order.target}{kind} for {sizes} with {order.library}{where}")
    typer.echo(
        f"guessed from the graphs' sizes, {guess.measured}: {max(1, round(low))} to "
        f"{max(2, round(high))} minutes, {on_gpu}"
        f"{guess.host / 1e9:.1f} GB of memory, {guess.plans / 1e6:.0f} MB of plans"
    )
    for warning in order.warnings:
        typer.echo(f"overpaint: warning: {warning}", err=True)
