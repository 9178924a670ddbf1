"""`overpaint serve`, as a function."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from overpaint.bundle.errors import UsageError
from overpaint.engines.host.sizes import parse_bytes
from overpaint.runtime.control.opening import network_folder
from overpaint.runtime.upscaler import Upscaler
from overpaint.scale.places import identity
from overpaint.serve.http.limits import Limits
from overpaint.serve.jobs.engines.bundles import Opening, served_bundle
from overpaint.serve.jobs.engines.memory import default_budget
from overpaint.serve.jobs.engines.models import Served
from overpaint.serve.jobs.replicas.deploy import Engines, Scale, as_config, as_yaml, deployed, start
from overpaint.serve.jobs.styles import Styles, read_styles

from .app import create_app
from .config import Config
from .server import run


def serve(
    bundles: Sequence[Path] = (),
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    allow_host: Sequence[str] = (),
    allow_image_host: Sequence[str] = (),
    opening: Opening | None = None,
    queue: int = 16,
    live_sessions: int = 2,
    job_timeout: float = 600.0,
    memory_budget: str | None = None,
    provider: str = "local",
    fallback: Sequence[str] = (),
    fallback_token: str | None = None,
    ray: str | None = None,
    replicas: str = "1",
    replica_cpus: float = 1.0,
    replica_gpus: float = 0.0,
    replica_jobs: int = 2,
    styles: Path | None = None,
    results: Path | None = None,
    results_size: str = "512MB",
    keep_uploads: float = 300.0,
    keep_results: float = 3600.0,
    drain: float = 30.0,
) -> None:
    """Serve `bundles` (none: the embedded model) until a signal; ends in SystemExit.

    provider, fallback: URLs of those who run the jobs, the first that takes one; "local" is this
    process, and bundles are opened for that one alone.
    ray: the address of a cluster (`connect`), whose replicas have every job first, and end with
    this server. The options of theirs are those of `Scale` and `Engines`; `memory_budget` is then
    one replica's.
    opening: what every bundle is opened with (`opening_of`); absent, its defaults.
    results: a folder where finished pictures outlive a restart; None is the user's state folder,
    and memory where that cannot be written; `results_size`, as "20GB", is of all of them together.
    Times are in seconds.

    Raises UsageError, BundleError, CheckpointError.
    """
    if ray is not None and provider != "local":
        raise UsageError(f"--ray {ray}, --provider {provider}: both say who has every job first")
    scale = Scale.of(replicas, replica_cpus, replica_gpus, drain)
    budget = parse_bytes("--memory-budget", memory_budget) if memory_budget else None
    config = Config(
        host=host,
        port=port,
        token=token or None,
        allowed_hosts=tuple(allow_host),
        image_hosts=tuple(allow_image_host),
        queue=queue,
        live_sessions=live_sessions,
        job_seconds=job_timeout,
        memory_budget=budget or default_budget(),
        provider=f"ray://{ray}" if ray is not None else provider,
        fallbacks=tuple(fallback),
        fallback_token=fallback_token or None,
        styles=styles_of(styles, embedded=provider == "local" and not bundles),
        folder=results or state_folder(),
        upload_seconds=keep_uploads,
        result_seconds=keep_results,
        result_bytes=parse_bytes("--results-size", results_size),
        drain_seconds=drain,
    )
    _log_to_stderr()
    opening = opening or Opening()
    local = "local" in config.providers
    if bundles and not local and ray is None:
        raise UsageError("BUNDLES: nobody here would run them; add --fallback local, or name none")
    served = read_bundles(bundles, opening) if local or ray is not None else []
    with ExitStack() as stack:
        if ray is not None:
            engines = _engines(bundles, opening, config.limits, budget, job_timeout, replica_jobs)
            stack.enter_context(deployed(ray, engines.provider, engines.jobs, scale))
        code = run(create_app(config, served if local else ()), config)
    raise SystemExit(code)


def deploy(
    bundles: Sequence[Path] = (),
    *,
    opening: Opening,
    ray: str | None = None,
    replicas: str = "1",
    replica_cpus: float = 1.0,
    replica_gpus: float = 0.0,
    replica_jobs: int = 2,
    memory_budget: str | None = None,
    job_timeout: float = 600.0,
    drain: float = 30.0,
) -> str:
    """The config by which `serve deploy` starts the replicas that `serve` has with `ray`. With
    `ray`, the address of a cluster, they are started there, and outlive this process.

    Raises UsageError, BundleError, CheckpointError, MissingExtraError.
    """
    scale = Scale.of(replicas, replica_cpus, replica_gpus, drain)
    budget = parse_bytes("--memory-budget", memory_budget) if memory_budget else None
    engines = _engines(bundles, opening, Limits(), budget, job_timeout, replica_jobs)
    read_bundles(bundles, opening)
    if ray is not None:
        start(ray, engines.provider, engines.jobs, scale)
    return as_yaml(as_config(engines, scale))


def _engines(
    bundles: Sequence[Path],
    opening: Opening,
    limits: Limits,
    memory_budget: int | None,
    job_seconds: float,
    jobs: int,
) -> Engines:
    """What each replica opens, be it served or deployed."""
    return Engines(
        bundles=as_every_node_sees(bundles),
        opening=opening,
        memory_budget=memory_budget,
        job_seconds=job_seconds,
        max_steps=limits.steps,
        max_images=limits.n,
        jobs=jobs,
    )


def opening_of(
    *,
    device: str = "auto",
    precision: str = "f32",
    gpu_memory: str | None = None,
    lora_folder: Path | None = None,
    embedding: Mapping[str, Path] | None = None,
    control: Sequence[Path] = (),
    warm_up: Sequence[tuple[int, int]] = (),
    ip_adapter: Sequence[Path] = (),
    tiny_vae: Path | None = None,
    upscaler: Path | None = None,
) -> Opening:
    """How `serve` opens bundles, with paths that hold in any process.

    device, precision, gpu_memory: as `Img2Img.open` has them, the last as "6GB".
    lora_folder: LoRAs that jobs may give weights to.
    embedding: textual inversions by their words, each for the bundles that it fits.
    control: folders of control networks, each for the bundles that it fits.
    warm_up: sizes (width, height) that each bundle paints before its first job; none: what
    `Opening` says.
    ip_adapter: folders; each bundle sees reference pictures through the first that fits it.
    tiny_vae: the tiny autoencoder of every bundle, for previews and for jobs that ask for it.
    upscaler: the ONNX file that enlarges pictures, for jobs with `upscale`.

    Raises UsageError.
    """
    return Opening(
        device=device,
        precision=precision,
        gpu_memory=parse_bytes("--gpu-memory", gpu_memory) if gpu_memory else None,
        control=tuple(network_folder(path).absolute() for path in control),
        sizes=tuple(warm_up),
        ip_adapters=tuple(path.absolute() for path in ip_adapter),
        tiny_vae=tiny_vae and tiny_vae.absolute(),
        upscaler=upscaler and upscaler.absolute(),
        lora_folder=lora_folder and lora_folder.absolute(),
        embeddings={word: path.absolute() for word, path in (embedding or {}).items()},
    )


def as_every_node_sees(bundles: Sequence[Path]) -> tuple[str, ...]:
    """Paths that begin at the root, and URLs as they are."""
    return tuple(map(identity, bundles))


def read_bundles(bundles: Sequence[Path], opening: Opening) -> list[Served]:
    """What is to be served, no engine of it opened yet. Raises UsageError, BundleError,
    CheckpointError, also for what `opening` has and none of the bundles takes."""
    if opening.upscaler is not None:  # whatever is none is refused before anything is served
        Upscaler.open(opening.upscaler).close()
    served = [served_bundle(path, opening) for path in bundles or (None,)]
    for folder in opening.ip_adapters:
        if folder not in {one.adapter for one in served}:
            raise UsageError(
                f"--ip-adapter {folder}: none of the bundles sees through it; overpaint info says "
                "which adapters fit a bundle"
            )
    words = {own.word for one in served for own in one.manifest.embeddings}
    for word, file in opening.embeddings.items():
        if word not in words:
            raise UsageError(
                f"--embedding {word}={file}: it is for none of the bundles that are served"
            )
    known = {name for one in served for name in one.controls}
    for folder in opening.control:
        if folder.resolve().name not in known:
            raise UsageError(f"--control {folder}: it is for none of the bundles that are served")
    return served


def state_folder() -> Path | None:
    """Where this user's programs keep what should outlive a restart; None without a home."""
    base = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(base):
        home = os.environ.get("HOME", "")
        base = os.path.join(home, ".local", "state") if os.path.isabs(home) else ""
    return Path(base) / "overpaint" / "results" if base else None


def styles_of(table: Path | None, *, embedded: bool) -> Styles:
    """The operator's, or the usual ones, of whose words the `embedded` model knows none."""
    if table is not None:
        return read_styles(table)
    return Styles(prompt={}, negative_prompt=None) if embedded else Styles()


def _log_to_stderr() -> None:
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    for chatty in ("uvicorn", "httpx", "websockets", "PIL", "ray"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
