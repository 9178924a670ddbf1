"""What a request says of reference pictures, with nothing left open; no engine is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from overpaint.bundle import layout
from overpaint.bundle.errors import UsageError
from overpaint.bundle.format.manifest import Manifest
from overpaint.bundle.ip_adapter.inputs import MOST_PICTURES, level_of, sides
from overpaint.runtime.image import Picture, read
from overpaint.runtime.masks.read import read_mask
from overpaint.runtime.request import Request
from overpaint.runtime.settings import Settings

from .cells import mask_cells
from .pixels import clip_pixels

Array = npt.NDArray[np.float32]

SCALE: Final = 1.0  # where none is given, as in diffusers


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """pixels: (pictures,3,side,side), as the image encoder takes them. together: whether all
    pictures' tokens are seen by one attention, at one scale; else each has its own. scales: how
    much of each attention, at each cell of a level: (attentions, cells), by the input's name.
    sha256, mask_sha256: of the pictures and their masks as they were read.
    """

    pixels: Array = field(repr=False)
    together: bool
    scales: dict[str, Array] = field(repr=False)
    sha256: tuple[str, ...]
    mask_sha256: tuple[str, ...]
    notes: tuple[str, ...]


def read_references(
    manifest: Manifest | None, request: Request, size: tuple[int, int], cells: tuple[int, int]
) -> References | None:
    """The reference pictures of `request`, None where it has none, for a run of `size` (width,
    height) whose latents have `cells` (height, width). `manifest`: of the bundle whose denoiser
    sees them; None where no adapter is there.

    Raises UsageError, ImageError.
    """
    pictures, masks, settings = request.ip_adapter_image, request.ip_adapter_mask, request.settings
    check_references(settings, pictures=len(pictures), masks=len(masks))
    if not pictures:
        return None
    if manifest is None:
        raise UsageError(
            "ip_adapter_image: no adapter is there to see it; open the pipeline with "
            "ip_adapter=FOLDER, on the command line --ip-adapter FOLDER"
        )
    read_pictures = [read(one) for one in pictures]
    read_masks = [read_mask(one) for one in masks]
    together = not masks and isinstance(settings.ip_adapter_scale, int | float | None)
    scales = _scales(settings, 1 if together else len(pictures))
    [encoder] = manifest.components[layout.IMAGE_ENCODER].inputs
    side = encoder.shape[-1]
    assert isinstance(side, int)
    return References(
        pixels=np.concatenate([clip_pixels(one.image, side) for one in read_pictures]),
        together=together,
        scales=_at_each_level(manifest, scales, read_masks, size, cells),
        sha256=tuple(one.sha256 for one in read_pictures),
        mask_sha256=tuple(one.sha256 for one in read_masks),
        notes=tuple(note for one in (*read_pictures, *read_masks) for note in one.notes),
    )


def check_references(settings: Settings, *, pictures: int, masks: int) -> None:
    """Raise UsageError for words about reference pictures where there are none, or too few."""
    scale = settings.ip_adapter_scale
    if pictures and settings.reference_strength is not None:
        raise UsageError(
            "reference_strength: it is about the picture that is repainted; how much of the "
            "reference pictures is seen says ip_adapter_scale"
        )
    for name, given in (("ip_adapter_scale", scale is not None), ("ip_adapter_mask", masks > 0)):
        if given and not pictures:
            raise UsageError(f"{name}: there is no reference picture; give ip_adapter_image")
    if pictures > MOST_PICTURES:
        raise UsageError(f"ip_adapter_image: expected {MOST_PICTURES} at most, got {pictures}")
    if masks and masks != pictures:
        raise UsageError(
            f"ip_adapter_mask: expected one for each of {pictures} reference pictures, got {masks}"
        )
    if isinstance(scale, tuple | list) and len(scale) != pictures:
        raise UsageError(
            f"ip_adapter_scale: expected one number, or one for each of {pictures} reference "
            f"pictures, got {len(scale)}"
        )


def _scales(settings: Settings, attentions: int) -> list[float]:
    scale = settings.ip_adapter_scale
    if scale is None:
        return [SCALE] * attentions
    return [float(scale)] * attentions if isinstance(scale, int | float) else [*map(float, scale)]


def _at_each_level(
    manifest: Manifest,
    scales: Sequence[float],
    masks: Sequence[Picture],
    size: tuple[int, int],
    cells: tuple[int, int],
) -> dict[str, Array]:
    found = {}
    for tensor in manifest.components[manifest.denoiser].inputs:
        if (level := level_of(tensor.name)) is None:
            continue
        here = sides(level, *cells)
        places = (
            np.stack([mask_cells(mask.image, size, here) for mask in masks])
            if masks
            else np.ones((len(scales), here[0] * here[1]), np.float32)
        )
        found[tensor.name] = places * np.asarray(scales, np.float32)[:, None]
    return found
