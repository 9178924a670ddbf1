"""`overpaint serve`: the options. The work is overpaint.serve's, imported when it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from overpaint.bundle.errors import MissingExtraError
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

`overpaint serve`

`overpaint serve bundles/sd15 bundles/sdxl --port 8080 --memory-budget 24GB`

`overpaint serve bundles/sd15 --device cuda --warm-up 512x512 --warm-up 768x512`

`overpaint serve bundles/sd15 --lora-folder loras/`

`overpaint serve bundles/sd15 --embedding "<toy>=toy.safetensors"`

`overpaint serve bundles/sd15 --control bundles/canny --control bundles/depth`

`overpaint serve bundles/sd15 --device openvino --precision bf16`

`OVERPAINT_TOKEN=… overpaint serve --host 0.0.0.0 --allow-host studio.example`

`overpaint serve --fallback http://10.0.0.2:8000 --fallback-token …`

`overpaint serve --provider http://10.0.0.2:8000`

`overpaint serve bundles/sdxl --ray auto --replicas 2-16 --replica-gpus 1 --device cuda`
"""


def serve(
    bundles: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders or URLs, served under their last names; absent, the embedded model.",
            parser=place,
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Another than loopback needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(envvar="OVERPAINT_TOKEN", help="What clients must present; 16 characters up."),
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="A further name by which clients may call. Repeatable.")
    ] = None,
    allow_image_host: Annotated[
        list[str] | None,
        typer.Option(help="A host from which https URLs of pictures are fetched. Repeatable."),
    ] = None,
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
    queue: Annotated[int, typer.Option(help="Jobs that may wait; one more is answered 429.")] = 16,
    live_sessions: Annotated[
        int, typer.Option(help="Clients that may draw live at once; 0: none.")
    ] = 2,
    job_timeout: JobTimeoutOption = 600.0,
    memory_budget: MemoryBudgetOption = None,
    provider: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="Who runs the jobs: local, this process, or the URL of an overpaint server.",
        ),
    ] = "local",
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="A Ray cluster whose replicas run the jobs: local, begun here; auto, that of this "
            "machine; or HOST:PORT.",
        ),
    ] = None,
    replicas: ReplicasOption = "1",
    replica_cpus: ReplicaCpusOption = 1.0,
    replica_gpus: ReplicaGpusOption = 0.0,
    replica_jobs: ReplicaJobsOption = 2,
    fallback: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="Another, for jobs that find the provider full; openai+https://HOST is any server "
            "that speaks OpenAI's image edits. Repeatable.",
        ),
    ] = None,
    fallback_token: Annotated[
        str | None,
        typer.Option(
            envvar="OVERPAINT_FALLBACK_TOKEN", help="What those servers want; the provider's too."
        ),
    ] = None,
    styles: Annotated[
        Path | None, typer.Option(help="A JSON file with another table of prompt additions.")
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(help="Where pictures outlive a restart; absent, the user's state folder."),
    ] = None,
    results_size: Annotated[
        str, typer.Option(metavar="SIZE", help="Of all pictures there; the oldest make room.")
    ] = "512MB",
    keep_uploads: Annotated[float, typer.Option(help="Seconds.")] = 300.0,
    keep_results: Annotated[float, typer.Option(help="Seconds.")] = 3600.0,
    drain: DrainOption = 30.0,
) -> None:
    """Serve the page, the native API, and those of OpenAI and AUTOMATIC1111."""
    from .run_options import words_of
    from .sizes import parse_size

    try:
        from overpaint.serve import command
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("overpaint"):
            raise
        raise MissingExtraError("serve", error.name or "fastapi") from None
    command.serve(
        bundles or (),
        host=host,
        port=port,
        token=token,
        allow_host=allow_host or (),
        allow_image_host=allow_image_host or (),
        opening=command.opening_of(
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
        ),
        queue=queue,
        live_sessions=live_sessions,
        job_timeout=job_timeout,
        memory_budget=memory_budget,
        provider=provider,
        ray=ray,
        replicas=replicas,
        replica_cpus=replica_cpus,
        replica_gpus=replica_gpus,
        replica_jobs=replica_jobs,
        fallback=fallback or (),
        fallback_token=fallback_token,
        styles=styles,
        results=results,
        results_size=results_size,
        keep_uploads=keep_uploads,
        keep_results=keep_results,
        drain=drain,
    )
