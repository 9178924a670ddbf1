"""`overpaint info`: what a bundle is, what it was made from, what runs it here and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from overpaint.commands.options import BundleArgument, Json

if TYPE_CHECKING:
    from overpaint.engines.describe import Description

EXAMPLES = """**Examples**

`overpaint info bundles/sd15`

`overpaint info bundles/sd15 --json`
"""


def info(bundle: BundleArgument = None, json: Json = False) -> None:
    """Say what a bundle is, what it was made from, what will run it on this machine and why."""
    import msgspec

    from overpaint.engines.bundle import open_bundle
    from overpaint.engines.describe import describe
    from overpaint.runtime.default_bundle import bundle_or_default

    description = describe(open_bundle(bundle_or_default(bundle)))
    if json:
        typer.echo(msgspec.json.encode(description).decode())
        return
    for line in lines(description):
        typer.echo(line)


def lines(what: Description) -> Iterator[str]:
    """The description for people."""
    size = what.total_bytes / 1e6
    yield f"{what.name}: {what.family}, {what.prediction} prediction"
    yield f"  size         {size:.1f} MB in {what.files} files"
    yield f"  folder       {what.folder}"
    yield f"  made from    {what.source.name} (sha256 {what.source.sha256[:16]}…)"
    producers = ", ".join(f"{name} {version}" for name, version in what.producers.items())
    yield f"  made by      {producers or 'unknown'}"
    for lora in what.loras:
        yield f"  LoRA         {lora.name} at {lora.weight:g}"
    defaults = what.defaults
    yield (
        f"  defaults     strength {defaults.strength:g}, {defaults.steps} steps, guidance "
        f"{defaults.guidance_scale:g}, sampler {defaults.sampler}"
    )
    latents = what.latents
    yield (
        f"  latents      {latents.channels} channels, {latents.downscale}x{latents.downscale} "
        f"pixels each; sides are multiples of {latents.multiple}"
    )
    yield "  components"
    for part in what.components:
        error = "not measured" if part.error is None else f"{part.error:.1e}"
        yield (
            f"    {part.name:<16} {part.compute_dtype}, graph {part.graph_bytes / 1e6:.2f} MB, "
            f"weights {part.weight_bytes / 1e6:.1f} MB, parity {error}"
        )
    if what.plans:
        yield f"  plans        {', '.join(what.plans)}"
    yield f"  runs on      {what.runs_on or 'nothing that is installed here'}"
    for candidate in what.devices:
        available = "yes" if candidate.available else "no"
        yield f"    {available:<4} {candidate.device:<9} {candidate.why}"
    for note in what.inferred:
        yield f"  inferred     {note}"
