"""All that can be decided before an engine runs: settings, size, pixels, schedule, warnings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from overpaint.bundle import layout
from overpaint.bundle.control.extend import networks_of
from overpaint.bundle.errors import UsageError
from overpaint.bundle.facts import Latents
from overpaint.bundle.families import FAMILIES
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.manifest import Manifest
from overpaint.bundle.tensor import Range

from .choices import LATENTS
from .control.picture import Controlling, Own, controlling
from .denoiser.forecast import draws, foretold_rows
from .image import Sides, place, to_pixels
from .ip_adapter.references import References, read_references
from .masks.ground import Ground, check_mask_settings, read_ground
from .masks.masking import Masking, masking
from .masks.region import region
from .reference_images import ReferenceImages, read_reference_images
from .request import Request
from .resolved import Resolved, resolve
from .schedule import Schedule, brought_up_to_date, make_schedule, read_scheduler_config
from .settings import Settings
from .tiles.tile import OVERLAP, tile_asked, tile_for, untiled
from .tiles.windows import Window, cover

Enlarge: TypeAlias = Callable[[Image.Image, tuple[int, int]], Image.Image]
"""A picture no smaller than a (width, height), made of a smaller one."""

MAX_OWN_PIXELS: Final = 2048 * 2048  # more is repainted smaller, unless a size asks for it
REPAINTED_PIXELS: Final = 1024 * 1024
ALL_REPAINTED: Final = (
    "mask: there is none, and an inpainting checkpoint repaints what it is not shown: all of the "
    "picture"
)
VAE_LATENTS: Final = "latent_sample"  # what VAE decoders call their input


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A request with nothing left open.

    tile: (width, height) of what the denoiser sees at a time, None where it is the whole.

    pixels: (1,3,H,W) float32 in [-1,1], or None for text to image; of another size than the run
    where it is latents that are resized. size: (width, height) of the run.
    image_sha256, mask_sha256: of the picture and the mask as they were read.
    controlling: what each control network is shown. masking: None where all of the picture is
    repainted. batch: how many images go through the denoiser together. guided: whether guidance
    needs the negative prompt, which doubles the denoiser's batch. lora: the weights of the LoRAs
    that turn, by name. references: an adapter's reference pictures, or None. beside: the pictures
    that the denoiser itself looks at.
    """

    prompt: str
    resolved: Resolved
    size: tuple[int, int]
    tile: tuple[int, int] | None
    pixels: npt.NDArray[np.float32] | None
    image_sha256: str | None
    mask_sha256: str | None
    controlling: tuple[Controlling, ...]
    masking: Masking | None
    schedule: Schedule
    guided: bool
    batch: int
    warnings: tuple[str, ...]
    lora: Mapping[str, float]
    references: References | None = None
    beside: ReferenceImages = ReferenceImages()  # noqa: RUF009 - frozen

    def sees_mask(self, manifest: Manifest) -> bool:
        """Whether the denoiser or a control network sees what is masked, so that nothing is put
        back after each step."""
        return manifest.inpaints or any(one.kept is not None for one in self.controlling)

    @property
    def seen(self) -> tuple[int, int]:
        """(width, height) of what the denoiser sees at a time."""
        return self.tile or self.size

    def latent_shape(self, latents: Latents) -> tuple[int, int, int]:
        """(C,h,w) of one image."""
        width, height = self.size
        return latents.channels, height // latents.downscale, width // latents.downscale

    def windows(self, latents: Latents) -> tuple[Window, ...] | None:
        """What the denoiser sees of the latents, one after the other; None where that is all."""
        if self.tile is None:
            return None
        tile = self.tile[1] // latents.downscale, self.tile[0] // latents.downscale
        return cover(self.latent_shape(latents)[1:], tile, min(tile) // OVERLAP)

    def unmasked_pixels(self) -> npt.NDArray[np.float32]:
        """What an inpainting denoiser is shown of the picture, (1,3,H,W): grey under the mask, and
        all over where no mask says what is kept."""
        if self.pixels is None or self.masking is None:
            return np.zeros((1, 3, self.size[1], self.size[0]), np.float32)
        return self.pixels * ~self.masking.hidden


def prepare(
    bundle: Bundle,
    request: Request,
    seeing: Bundle | None = None,
    enlarge: Enlarge | None = None,
) -> Job:
    """Raises UsageError or ImageError for anything that this bundle cannot do. `seeing`: the same
    with an adapter, for requests with reference pictures. `enlarge`: what enlarges the picture,
    where that is not Lanczos."""
    manifest, settings = bundle.manifest, request.settings
    _check_text("prompt", request.prompt)
    _check_text("negative_prompt", settings.negative_prompt or "")
    check_mask_settings(settings, masked=request.mask is not None, image=request.image is not None)
    resolved = resolve(settings, manifest.defaults, with_image=request.image is not None)
    masks = request.mask is not None or settings.mask_from_alpha or settings.extend is not None
    if settings.upscale is not None and masks:
        raise UsageError("upscale: a mask keeps the picture's own size; leave one of them out")
    in_latents = settings.resize == LATENTS
    if in_latents and masks:
        raise UsageError("resize: with a mask, pixels are; expected stretch, crop or pad")
    sides = image_sides(manifest)
    ground = read_ground(request.image, request) if request.image is not None else None
    asked = tile_asked(settings.tile, settings.upscale)
    possible = sides if asked is None else untiled(sides)
    size, notes = _size(settings, possible, ground)
    tile = tile_for(bundle, asked, size, sides)
    seen = tile or size
    schedule = schedule_for(bundle, resolved, seen)
    resolved = _foretelling(resolved, schedule)
    guided = negative_scale(manifest, resolved) > 1
    if tile is not None and settings.vae == "tiny":
        raise UsageError("vae: a tiny one sees a picture at once; leave it or the tile out")
    cells = seen[1] // manifest.latents.downscale, seen[0] // manifest.latents.downscale
    if tile is not None and request.ip_adapter_mask:
        raise UsageError("ip_adapter_mask: reference pictures are seen by every tile; leave it out")
    references = read_references(seeing.manifest if seeing else None, request, size, cells)
    beside = read_reference_images(manifest, request.reference_image)
    if settings.guess_mode and not request.control:
        raise UsageError("guess_mode: there is no control; give one, or leave guess_mode out")
    held = possible.nearest(ground.picture.size) if ground and in_latents else size
    canvas, masked = _canvas(ground, settings, held, manifest, schedule.requested, enlarge)
    looks = manifest.looks_at_pictures
    told = (*resolved.warnings, *notes, *schedule_warnings(schedule, resolved, looks=looks))
    if manifest.inpaints and ground is not None and masked is None:
        told += (ALL_REPAINTED,)
    told += (references.notes if references else ()) + beside.notes
    if masked is not None:
        told += masked.warnings
        if masked.empty and masked.paste is not None:
            schedule = replace(schedule, rows=(), executed=0)
    return Job(
        prompt=request.prompt,
        resolved=resolved,
        size=size,
        tile=tile,
        pixels=None if canvas is None else to_pixels(canvas),
        image_sha256=ground.image_sha256 if ground else None,
        mask_sha256=ground.mask_sha256 if ground else None,
        controlling=_controlling(bundle, request, ground, masked, size),
        masking=masked,
        schedule=schedule,
        guided=guided,
        batch=batch_size(manifest, settings.pictures, guided),
        warnings=told,
        references=references,
        beside=beside,
        lora=request.lora_weights(),
    )


def _foretelling(resolved: Resolved, schedule: Schedule) -> Resolved:
    """`resolved`, without a forecast that a level brings and the sampler's noise makes vain. Raises
    UsageError for one that was asked for."""
    asked = resolved.settings.forecast is not None
    if not resolved.forecast or not draws(schedule) or asked:
        foretold_rows(schedule, resolved.forecast)
        return resolved
    left_out = (
        f"fidelity {resolved.settings.fidelity}: without its forecast, because "
        f"{schedule.sampler} draws fresh noise in its steps"
    )
    return replace(resolved, forecast=0, warnings=(*resolved.warnings, left_out))


def _controlling(
    bundle: Bundle,
    request: Request,
    ground: Ground | None,
    masked: Masking | None,
    size: tuple[int, int],
) -> tuple[Controlling, ...]:
    """What the control networks are shown: where a part of the picture is repainted alone, that."""
    if not request.control:
        return ()
    settings = request.settings
    part = masked.placement if masked and settings.mask_padding is not None else None
    shown = (masked.canvas, masked.hidden, masked.cells) if masked else None
    own = Own(ground.picture, ground.image_sha256, part, shown) if ground else None
    return controlling(request.control, networks_of(bundle), own, size, settings.resize)


def _size(
    settings: Settings, sides: Sides, ground: Ground | None
) -> tuple[tuple[int, int], tuple[str, ...]]:
    """The run's (width, height), and notes on it and on the picture."""
    notes = ground.notes if ground else ()
    if settings.size:
        return sides.check(settings.size), notes
    assert ground is not None  # resolve() refuses text to image without a size
    if settings.upscale is not None:
        width, height = ground.picture.size
        larger = round(width * settings.upscale), round(height * settings.upscale)
        return sides.nearest(larger), notes
    if settings.tile is not None:
        return sides.floor(ground.picture.size), notes
    size, shrunk = _own_size(ground.picture.size, sides)
    return size, (*notes, *shrunk)


def _canvas(
    ground: Ground | None,
    settings: Settings,
    size: tuple[int, int],
    manifest: Manifest,
    steps: int,
    enlarge: Enlarge | None,
) -> tuple[Image.Image | None, Masking | None]:
    """What the run starts from, and what of it may change; None is all of it."""
    if ground is None:
        return None, None
    if ground.feathered is None:
        picture = ground.picture if enlarge is None else enlarge(ground.picture, size)
        return place(picture.size, size, settings.resize).canvas(picture), None
    if settings.mask_padding is None:
        placement = place(ground.picture.size, size, settings.resize)
    else:
        box = region(ground.feathered, size, settings.mask_padding)
        placement = place(ground.picture.size, size, "pad", box)
    cell = manifest.latents.downscale
    usual = FAMILIES[manifest.family].mask_cells
    masked = masking(ground, settings, placement, cell=cell, usual=usual, steps=steps)
    return masked.canvas, masked


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
        f"{smaller[0]}x{smaller[1]}; ask for a size to have another, or for tile auto to keep it",
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


def negative_scale(manifest: Manifest, resolved: Resolved) -> float:
    """The scale of guidance away from a negative prompt, which asks the denoiser twice; 1 is none.

    Where the denoiser is told `guidance_scale` itself, such guidance comes on top, by a scale of
    its own. Raises UsageError for that one where there is no such difference.
    """
    besides = resolved.settings.true_cfg_scale
    if manifest.takes_guidance:
        return 1.0 if besides is None else besides
    if besides is not None:
        raise UsageError(
            "true_cfg_scale: this denoiser is not told the guidance scale, so that guidance_scale "
            "says the same; give that"
        )
    return resolved.guidance_scale


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
    family, side = FAMILIES[bundle.manifest.family], bundle.manifest.latents.multiple
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
        image_tokens=(size[0] // side) * (size[1] // side),
        shift=family.shift,
        even_sigmas=family.even_sigmas,
        eta=resolved.settings.eta,
    )


def schedule_warnings(
    schedule: Schedule, resolved: Resolved, *, looks: bool = False
) -> tuple[str, ...]:
    """What of a schedule a caller should know who did not ask for it. `looks`: whether the denoiser
    looks at the picture, wherever it starts from."""
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
    if schedule.discards_image and not looks:
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
