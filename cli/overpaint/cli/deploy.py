"""`overpaint deploy`: the options. The work is overpaint.serve's, imported when it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from overpaint.bundle.errors import MissingExtraError, UsageError
from overpaint.scale.places import place

from .options import DeviceOption, GpuMemoryOption, PrecisionOption, TinyVaeOption, UpscalerOption
from .serving_options import (
    ControlOption,
    DrainOption,
    EmbeddingOption,
    IpAdapterOption,
    JobTimeoutOption,
    LoraFolderOption,
    MemoryBudgetOption,
    ReplicaCpusOption,
    ReplicaGpusOption,
    ReplicaJobsOption,
    ReplicasOption,
    WarmUpOption,
)

EXAMPLES = """**Examples**

`overpaint deploy bundles/sdxl --replicas 2-16 --replica-gpus 1 --print > overpaint.yaml`

`overpaint deploy bundles/sdxl --replicas 8 --ray auto`

`overpaint serve --provider ray://auto`
"""


def deploy(
    bundles: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders or URLs, served under their last names; absent, the embedded model.",
            parser=place,
        ),
    ] = None,
    print_: Annotated[
        bool,
        typer.Option("--print", help="Write a config for Ray's `serve deploy`."),
    ] = False,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Start them on this cluster: auto, or HOST:PORT."),
    ] = None,
    replicas: ReplicasOption = "1",
    replica_cpus: ReplicaCpusOption = 1.0,
    replica_gpus: ReplicaGpusOption = 0.0,
    replica_jobs: ReplicaJobsOption = 2,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "f32",
    gpu_memory: GpuMemoryOption = None,
    lora_folder: LoraFolderOption = None,
    embedding: EmbeddingOption = None,
    control: ControlOption = None,
    warm_up: WarmUpOption = None,
    ip_adapter: IpAdapterOption = None,
    tiny_vae: TinyVaeOption = None,
    upscaler: UpscalerOption = None,
    job_timeout: JobTimeoutOption = 600.0,
    memory_budget: MemoryBudgetOption = None,
    drain: DrainOption = 30.0,
) -> None:
    """Start replicas on a Ray cluster that outlive this command, or write their config."""
    from .run_options import words_of
    from .sizes import parse_size

    if print_ == (ray is not None):
        raise UsageError("expected one of --print and --ray ADDRESS")
    try:
        from overpaint.serve import command
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("overpaint"):
            raise
        raise MissingExtraError("serve", error.name or "fastapi") from None
    opening = command.opening_of(
        device=device,
        precision=precision,
        gpu_memory=gpu_memory,
        lora_folder=lora_folder,
        embedding=words_of(embedding or ()),
        control=control or (),
        warm_up=[parse_size(text) for text in warm_up or ()],
        ip_adapter=ip_adapter or (),
        tiny_vae=tiny_vae,
        upscaler=upscaler,
    )
    config = command.deploy(
        bundles or (),
        opening=opening,
        ray=ray,
        replicas=replicas,
        replica_cpus=replica_cpus,
        replica_gpus=replica_gpus,
        replica_jobs=replica_jobs,
        memory_budget=memory_budget,
        job_timeout=job_timeout,
        drain=drain,
    )
    if print_:
        typer.echo(config, nl=False)
