"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from overpaint.engines.backends import BACKENDS

DEVICES: Final = ", ".join(("auto", *BACKENDS))
AUTO: Final = ", ".join(name for name, one in BACKENDS.items() if one.rank is not None)
PRECISIONS: Final = tuple(dict.fromkeys(p for one in BACKENDS.values() for p in one.precisions))
BundleOption = Annotated[
    Path | None,
    typer.Option(
        "--bundle", help="A bundle, or a checkpoint to import; absent, the embedded model."
    ),
]
LoraOption = Annotated[
    list[str] | None,
    typer.Option("--lora", metavar="FILE[:WEIGHT]", help="Fused into the weights. Repeatable."),
]
LoraModeOption = Annotated[
    str,
    typer.Option(
        metavar="fused|live",
        help="live: beside the weights, so that another weight needs no other engine.",
    ),
]
LoraFolderOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Its files may be named without suffix, also <lora:NAME:1> in a prompt."
    ),
]
LikeOption = Annotated[
    str | None,
    typer.Option("--like", metavar="NAME", help="What a single file is, where it does not tell."),
]
TinyVaeOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A tiny autoencoder (TAESD), file or folder: for previews, and for --vae tiny.",
    ),
]
UpscalerOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.onnx",
        help="A network like ESRGAN's, which --upscale takes instead of Lanczos.",
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME",
        help=f"What runs the engines: {DEVICES}. auto tries {AUTO}.",
    ),
]
PrecisionOption = Annotated[
    str,
    typer.Option(
        "--precision",
        metavar="|".join(PRECISIONS),
        help="bf16, int8 (once built): faster, with --device openvino only.",
    ),
]
GpuMemoryOption = Annotated[
    str | None,
    typer.Option(
        "--gpu-memory",
        metavar="SIZE",
        help="For weights, as 6GB; the rest stays in the host's memory. With --device tensorrt-rtx "
        "and plans built with --weight-streaming.",
    ),
]
BundleArgument = Annotated[Path | None, typer.Argument(help="Absent, the embedded model.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]
