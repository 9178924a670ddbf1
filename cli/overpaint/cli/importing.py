"""`overpaint import`: a checkpoint becomes a bundle without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from overpaint.bundle.checkpoint.link import Choice
from overpaint.bundle.errors import UsageError

from .adapters import import_adapter
from .options import Force, LikeOption, LoraOption
from .tiny_vae import refuse_tiny_vae

EXAMPLES = """**Examples**

`overpaint import finetune.safetensors -o bundles/finetune`

`overpaint import flux1-dev.safetensors --rest checkpoints/flux1-dev -o bundles/flux`

`overpaint import ip-adapter_sd15.safetensors -o bundles/ip-adapter`

`overpaint import control_v11p_sd15_canny.safetensors -o bundles/canny`

`overpaint import checkpoints/sdxl -o bundles/sdxl --lora style.safetensors:0.8 --copy`
"""


def import_(
    checkpoint: Annotated[
        str,
        typer.Argument(
            help="A .safetensors file, a diffusers folder, or a hub id; an IP-Adapter's too."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle, a new folder.")],
    link: Annotated[
        bool | None,
        typer.Option("--link/--copy", help="Absent, weights are linked where that is possible."),
    ] = None,
    lora: LoraOption = None,
    like: LikeOption = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="A folder with T5's or Qwen3's tokenizer.json, for a single file."),
    ] = None,
    rest: Annotated[
        str | None,
        typer.Option(
            metavar="CHECKPOINT",
            help="A diffusers folder with what a single file lacks, as text encoders.",
        ),
    ] = None,
    dtype: Annotated[
        str, typer.Option(metavar="float32|float16", help="What the engines compute in.")
    ] = "float32",
    image_encoder: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="What an IP-Adapter sees with; absent, beside it."),
    ] = None,
    force: Force = False,
) -> None:
    """Turn any fine-tune of a known architecture into a bundle, here and without torch."""
    from overpaint.bundle.control.importing import import_controlnet, is_control_checkpoint
    from overpaint.bundle.ip_adapter.make import holds_adapter

    refuse_tiny_vae(checkpoint)
    if holds_adapter(checkpoint):
        if lora or like or tokenizer or rest:
            raise UsageError("--lora, --like, --tokenizer, --rest: are of no use to an IP-Adapter")
        import_adapter(
            checkpoint, output, image_encoder=image_encoder, link=link, dtype=dtype, force=force
        )
        return
    if image_encoder is not None:
        raise UsageError(f"--image-encoder: it is an IP-Adapter's, and {checkpoint} is none")
    from overpaint.bundle.importing import LoraChoice, import_checkpoint
    from overpaint.engines.onnxruntime.cpu.decode import decode

    from .progress import progress_bar

    choice: Choice = "auto" if link is None else "link" if link else "copy"
    if is_control_checkpoint(checkpoint):
        given = {"--lora": lora, "--like": like, "--tokenizer": tokenizer, "--rest": rest}
        for option in (option for option, value in given.items() if value):
            raise UsageError(f"{option}: is for checkpoints, and this is a control network")
        with progress_bar("import") as advance:
            network = import_controlnet(
                checkpoint, output, link=choice, dtype=dtype, force=force, progress=advance
            )
        how = " and ".join(sorted(network.placed)) or "converted"
        typer.echo(
            f"{output}: {network.manifest.name}, a control network ({network.architecture}) for "
            f"{network.manifest.family}, its weights {how}"
        )
        typer.echo(f"Try: overpaint run --control {output}")
        return
    with progress_bar("import") as advance:
        made = import_checkpoint(
            checkpoint,
            output,
            link=choice,
            loras=[LoraChoice.parse(text) for text in lora or ()],
            like=like,
            tokenizer=tokenizer,
            rest=rest,
            dtype=dtype,
            force=force,
            decode=decode,
            progress=advance,
        )
    how = " and ".join(sorted(made.placed)) or "converted"
    typer.echo(f"{output}: {made.manifest.name}, {made.architecture}, its weights {how}")
    for fused in made.manifest.loras:
        typer.echo(f"{output}: {fused.name} fused at {fused.weight:g}")
    typer.echo(f"Try: overpaint info {output}")
