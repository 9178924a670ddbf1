"""All that can be decided before an engine runs: settings, size, pixels, schedule, warnings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from overpaint.bundle import layout
from overpaint.bundle.errors import UsageError
from overpaint.bundle.families import FAMILIES
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.manifest import Manifest
from overpaint.bundle.tensor import Range

from .image import Sides, fit, read, to_pixels
from .request import Request
from .resolved import Resolved, resolve
from .schedule import Schedule, brought_up_to_date, make_schedule, read_scheduler_config

MAX_OWN_PIXELS: Final = 2048 * 2048  # more is repainted smaller, unless a size asks for it
REPAINTED_PIXELS: Final = 1024 * 1024
VAE_LATENTS: Final = "latent_sample"  # what VAE decoders call their input


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A request with nothing left open.

    pixels: (1,3,H,W) float32 in [-1,1], or None for text to image. size: (width, height).
    image_sha256: of the picture as it was read (`Picture.sha256`). batch: how many images go
    through the denoiser together. guided: whether guidance needs the negative prompt, which doubles
    the denoiser's batch.
    """

    prompt: str
    resolved: Resolved
    size: tuple[int, int]
    pixels: npt.NDArray[np.float32] | None
    image_sha256: str | None
    schedule: Schedule
    guided: bool
    batch: int
    warnings: tuple[str, ...]

    def latent_shape(self, manifest: Manifest) -> tuple[int, int, int]:
        """(C,h,w) of one image."""
        width, height = self.size
        cell = manifest.latents.downscale
        return manifest.latents.channels, height // cell, width // cell


def prepare(bundle: Bundle, request: Request) -> Job:
    """Raises UsageError or ImageError for anything that this bundle cannot do."""
    manifest, settings = bundle.manifest, request.settings
    _check_text("prompt", request.prompt)
    _check_text("negative_prompt", settings.negative_prompt or "")
    resolved = resolve(settings, manifest.defaults, with_image=request.image is not None)
    sides = image_sides(manifest)
    size = sides.check(settings.size) if settings.size else None
    pixels = image_sha256 = None
    notes: tuple[str, ...] = ()
    if request.image is not None:
        picture = read(request.image)
        notes = picture.notes
        if size is None:
            size, shrunk = _own_size(picture.image.size, sides)
            notes += shrunk
        pixels = to_pixels(fit(picture.image, size, settings.resize))
        image_sha256 = picture.sha256
    assert size is not None  # resolve() refuses text to image without a size
    schedule = schedule_for(bundle, resolved, size)
    guided = is_guided(manifest, resolved)
    return Job(
        prompt=request.prompt,
        resolved=resolved,
        size=size,
        pixels=pixels,
        image_sha256=image_sha256,
        schedule=schedule,
        guided=guided,
        batch=batch_size(manifest, settings.n, guided),
        warnings=(*resolved.warnings, *notes, *schedule_warnings(schedule, resolved)),
    )


def _own_size(size: tuple[int, int], sides: Sides) -> tuple[tuple[int, int], tuple[str, ...]]:
    """The picture's own size, floored to the multiple, or a smaller one and a note that says so."""
    width, height = size
    if width * height > MAX_OWN_PIXELS:
        smaller, why = sides.shrunk(size, REPAINTED_PIXELS), "diffusion models repaint well"
    elif max(size) >= sides.maximum + sides.multiple:
        smaller, why = sides.shrunk(size, width * height), "these engines take"
    else:
        return sides.floor(size), ()
    return smaller, (
        f"the picture is {width}x{height}, more than {why}: it is repainted at "
        f"{smaller[0]}x{smaller[1]}; ask for a size to have another",
    )


def image_sides(manifest: Manifest) -> Sides:
    """What the bundle's VAE decoder and denoiser take: the ranges they declare, in pixels."""
    cell = manifest.latents.downscale
    ranges = [
        _range(manifest.components[component].ranges, side)
        for component, latents in (
            (layout.VAE_DECODER, VAE_LATENTS),
            (manifest.denoiser, FAMILIES[manifest.family].denoiser.sample),
        )
        for tensor in manifest.components[component].inputs
        if tensor.name == latents
        for side in tensor.shape[2:]
    ]
    multiple = manifest.latents.multiple
    low, high = max(r.minimum for r in ranges) * cell, min(r.maximum for r in ranges) * cell
    return Sides(
        multiple=multiple,
        minimum=-(-low // multiple) * multiple,
        maximum=high // multiple * multiple,
    )


def _range(ranges: dict[str, Range], side: int | str) -> Range:
    return Range(minimum=side, maximum=side) if isinstance(side, int) else ranges[side]


def is_guided(manifest: Manifest, resolved: Resolved) -> bool:
    """Whether the negative prompt has a say: not where the denoiser takes the scale itself."""
    return resolved.guidance_scale > 1 and manifest.guidance_embedding_width is None


def batch_size(manifest: Manifest, n: int, guided: bool) -> int:
    """How many of `n` images the denoiser takes at a time."""
    denoiser = manifest.components[manifest.denoiser]
    most = _range(denoiser.ranges, denoiser.inputs[0].shape[0]).maximum
    if guided and most < 2:
        raise UsageError("guidance_scale: these engines have batch 1, without guidance; give 1")
    return min(n, most // 2 if guided else most)


def check_context(manifest: Manifest, tokens: int) -> None:
    """Raise UsageError if the denoiser takes no context of so many tokens."""
    denoiser, called = manifest.components[manifest.denoiser], FAMILIES[manifest.family].denoiser
    [context] = [one for one in denoiser.inputs if one.name == called.context]
    limits = _range(denoiser.ranges, context.shape[1])
    if not limits.minimum <= tokens <= limits.maximum:
        raise UsageError(
            f"prompt: this is {tokens} tokens of context in chunks, and these engines take "
            f"{limits.maximum} at most; shorten it, or leave prompt_chunks and BREAK out"
        )


def schedule_for(bundle: Bundle, resolved: Resolved, size: tuple[int, int]) -> Schedule:
    """The rows that `resolved` asks of this bundle, for a picture of `size` (width, height)."""
    family, cell = FAMILIES[bundle.manifest.family], bundle.manifest.latents.downscale
    config = read_scheduler_config(bundle.folder / layout.SCHEDULER_CONFIG)
    if family.legacy_scheduler_config:
        config = brought_up_to_date(config)
    return make_schedule(
        config,
        steps=resolved.steps,
        strength=resolved.strength,
        sampler=resolved.sampler,
        sigmas=resolved.sigmas,
        steps_mode=resolved.steps_mode,
        rounding=family.rounding,
        denoising_start=resolved.denoising_start,
        denoising_end=resolved.denoising_end,
        image_tokens=(size[0] // cell // 2) * (size[1] // cell // 2),
        eta=resolved.settings.eta,
    )


def schedule_warnings(schedule: Schedule, resolved: Resolved) -> tuple[str, ...]:
    """What of a schedule a caller should know who did not ask for it."""
    asked = f"strength {resolved.strength} of {resolved.steps} steps"
    ignored = tuple(
        f"sampler: {schedule.sampler} has no use for {field}, which the checkpoint's scheduler "
        "config asks for"
        for field in schedule.ignored
    )
    if not schedule.rows and (resolved.denoising_start or resolved.denoising_end):
        return (
            *ignored,
            f"none of {resolved.steps} steps lies between denoising_start and denoising_end: "
            "nothing is repainted; choose others, more steps, or another strength",
        )
    if not schedule.rows and resolved.strength:
        return (
            *ignored,
            f"{asked} rounds to none: the picture passes the VAE and is not repainted; raise "
            "either, or ask for steps_mode exact",
        )
    if schedule.discards_image:
        return (
            *ignored,
            f"{asked} leaves none out, and a flow model's first step starts from pure noise: "
            "the picture is ignored; lower the strength or raise the steps",
        )
    return ignored


def _check_text(name: str, text: str) -> None:
    if not isinstance(text, str):
        raise UsageError(f"{name}: expected text, got {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{name}: expected text, got bytes that are not UTF-8") from None
