"""`overpaint info`: what a bundle is, what it was made from, what runs it here and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import typer

from .json_output import echo_json
from .options import BundleArgument, Json

if TYPE_CHECKING:
    from overpaint.bundle.format.manifest import Manifest
    from overpaint.engines.describe import ComponentInfo, ControlDescription, Description

EXAMPLES = """**Examples**

`overpaint info bundles/sd15`

`overpaint info bundles/sd15 --json`
"""


MANY: Final = 1 << 16  # more pictures than any bundle takes at a time


def info(bundle: BundleArgument = None, json: Json = False) -> None:
    """Say what a bundle is, what it was made from, what will run it on this machine and why."""
    from overpaint.bundle.control.open import is_controlnet, open_controlnet
    from overpaint.bundle.format.open import open_bundle
    from overpaint.engines.describe import describe, describe_controlnet
    from overpaint.runtime.default_bundle import bundle_or_default

    from .adapters import is_adapter_bundle, tell_adapter

    folder = bundle_or_default(bundle)
    if is_adapter_bundle(folder):
        tell_adapter(folder, json=json)
        return
    if is_controlnet(folder):
        network = describe_controlnet(open_controlnet(folder))
        if json:
            echo_json(network)
            return
        for line in control_lines(network):
            typer.echo(line)
        return
    opened = open_bundle(folder)
    description = describe(opened)
    if json:
        echo_json(description)
        return
    for line in lines(description, opened.manifest):
        typer.echo(line)


def lines(what: Description, manifest: Manifest) -> Iterator[str]:
    """The description for people."""
    from overpaint.bundle.families import FAMILIES

    title = FAMILIES[what.family].title
    size = what.total_bytes / 1e6
    kind = ", inpainting" if what.inpaints else ""
    yield f"{what.name}: {what.family} ({title}){kind}, {what.prediction} prediction"
    yield f"  size         {size:.1f} MB in {what.files} files"
    yield f"  folder       {what.folder}"
    sha256 = f"sha256 {what.source.sha256[:16]}…" if what.source.sha256 else "not hashed"
    yield f"  made from    {what.source.name} ({sha256})"
    producers = ", ".join(f"{name} {version}" for name, version in what.producers.items())
    yield f"  made by      {producers or 'unknown'}"
    for lora in what.loras:
        yield f"  LoRA         {lora.name} at {lora.weight:g}"
    if what.ip_adapter:
        adapter = what.ip_adapter
        yield f"  references   seen through {adapter.name}, {adapter.tokens} tokens each"
    elif what.sees:
        yield (
            f"  references   IP-Adapters of {what.sees.attentions} attentions of width "
            f"{what.sees.width}: overpaint run --ip-adapter FOLDER"
        )
    defaults = what.defaults
    yield (
        f"  defaults     strength {defaults.strength:g}, {defaults.steps} steps, guidance "
        f"{defaults.guidance_scale:g}, sampler {defaults.sampler}"
    )
    yield f"  scheduler    {what.scheduler}, which the sampler default runs"
    yield from _text(what)
    yield from _pictures(what, manifest)
    if what.controls:
        yield f"  controls     {', '.join(what.controls)}, beside the denoiser"
    if what.controllable_by:
        yield f"  control by   {', '.join(what.controllable_by)}: overpaint run --control"
    yield "  components"
    yield from map(_part, what.components)
    if what.plans:
        yield f"  plans        {', '.join(what.plans)}"
    for folder in what.weightless:
        yield f"  plans        {folder}, without weights"
    yield f"  runs on      {what.runs_on or 'nothing that is installed here'}"
    for candidate in what.devices:
        available = "yes" if candidate.available else "no"
        yield f"    {available:<4} {candidate.device:<12} {candidate.why}"
    for note in what.inferred:
        yield f"  inferred     {note}"


def control_lines(what: ControlDescription) -> Iterator[str]:
    """The description of a control network, for people."""
    from overpaint.bundle.families import FAMILIES

    yield f"{what.name}: a control network for {what.family} ({FAMILIES[what.family].title})"
    yield f"  folder       {what.folder}"
    yield f"  made from    {what.source.name} (sha256 {what.source.sha256[:16]}…)"
    producers = ", ".join(f"{name} {version}" for name, version in what.producers.items())
    yield f"  made by      {producers}"
    if what.types is not None:
        yield f"  union        {what.types} kinds of picture: --control-kind 0 to {what.types - 1}"
    if what.global_pool:
        yield "  pooled       it sees colours and contents, not places; and the prompt's half alone"
    yield "  components"
    yield from map(_part, what.components)
    yield f"  runs with    overpaint run --bundle BUNDLE --control {what.folder}=PICTURE"


def _part(part: ComponentInfo) -> str:
    error = "not measured" if part.error is None else f"{part.error:.1e}"
    return (
        f"    {part.name:<16} {part.compute_dtype}, graph {part.graph_bytes / 1e6:.2f} MB, "
        f"weights {part.weight_bytes / 1e6:.1f} MB, parity {error}"
    )


_KINDS: Final = {"clip": "CLIP", "t5": "T5", "qwen3": "Qwen3"}


def _text(what: Description) -> Iterator[str]:
    """What reads the prompt, and what the family makes of a negative one."""
    for encoder in what.text.encoders:
        pooled = "" if encoder.hidden is not None else ", pooled alone"
        fed = f"{encoder.length} tokens, padded with {encoder.pad_token_id}{pooled}"
        if not encoder.pads:
            fed = f"at most {encoder.length} tokens"
        yield f"  text         {encoder.component}: {_KINDS[encoder.kind]}, {fed}"
    if what.text.t5_length and not any(one.kind == "t5" for one in what.text.encoders):
        yield f"  text         no T5: {what.text.t5_length} rows of zeros in its place"
    if what.text.aesthetic_score:
        yield "  text         told an aesthetic score: 6, and 2.5 beside the negative prompt"
    if what.text.zeros_for_absent_negative:
        yield '  text         an absent negative prompt is zeros, which is not the empty ""'
    if what.takes_guidance:
        yield "  text         the denoiser is told the guidance scale; a negative prompt has a say"
        yield "               with --true-cfg-scale above 1"


def _pictures(what: Description, manifest: Manifest) -> Iterator[str]:
    """What the latents are, and which pictures can be asked for."""
    from overpaint.bundle.families import FAMILIES
    from overpaint.runtime.prepare import batch_size, image_sides

    latents, sides = what.latents, image_sides(manifest)
    shift = f", shifted by {latents.shift:g}" if latents.shift else ""
    yield (
        f"  latents      {latents.channels} channels, {latents.downscale}x{latents.downscale} "
        f"pixels each; scaled by {latents.scaling:g}{shift}"
    )
    declared = (
        f"{sides.minimum} to {sides.maximum} pixels; "
        f"{batch_size(manifest, MANY, guided=False)} at a time, "
        f"{batch_size(manifest, MANY, guided=True)} with guidance"
    )
    if what.inpaints:
        yield "  masks        its denoiser is shown the mask and what of the picture is kept"
    if manifest.looks_at_pictures:
        yield "  looks at     the denoiser looks at the picture that is repainted, and at others:"
        yield "               --reference-image PICTURE"
    limits = "no limits declared" if what.inferred else declared
    yield f"  pictures     sides are multiples of {latents.multiple}; {limits}"
    if refined := FAMILIES[what.family].refines:
        yield f"  finishes     what {refined} begins: overpaint run --bundle THAT --refiner THIS"
