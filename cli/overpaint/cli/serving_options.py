"""The options of what serves bundles: this process, or replicas on a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

LoraFolderOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="LoRAs that jobs may give weights to, by their names."),
]
EmbeddingOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="WORD=FILE",
        help="A textual inversion, and its word in prompts, for the bundles that it fits. "
        "Repeatable.",
    ),
]
ControlOption = Annotated[
    list[Path] | None,
    typer.Option(help="A control network, for the bundles that it fits. Repeatable."),
]
WarmUpOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="WIDTHxHEIGHT",
        help="Painted once before a bundle's first job; absent, with --device cuda and "
        "tensorrt-rtx the bundle's own size, elsewhere none. Repeatable.",
    ),
]
IpAdapterOption = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FOLDER",
        help="An IP-Adapter's bundle: reference pictures, for the bundles that it fits. "
        "Repeatable.",
    ),
]
JobTimeoutOption = Annotated[float, typer.Option(help="Seconds that a job may run.")]
MemoryBudgetOption = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE", help="For open bundles, as 24GB; absent, 80% of memory. A replica's own."
    ),
]
DrainOption = Annotated[float, typer.Option(help="Seconds that jobs have to finish after SIGTERM.")]
ReplicasOption = Annotated[
    str,
    typer.Option(
        metavar="N|MIN-MAX", help="Processes with engines on the cluster; a range grows with jobs."
    ),
]
ReplicaCpusOption = Annotated[
    float, typer.Option(help="Processors of a replica, and threads of its engines.")
]
ReplicaGpusOption = Annotated[float, typer.Option(help="GPUs of a replica; 0.5: two share one.")]
ReplicaJobsOption = Annotated[
    int,
    typer.Option(min=1, help="Given to a replica at once: one runs, the others are there then."),
]
