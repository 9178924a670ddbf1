"""How large a tile is: as asked for, or what the checkpoint was trained on."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

import msgspec

from overpaint.bundle import layout
from overpaint.bundle.errors import BundleError, UsageError
from overpaint.bundle.files.json import read_json
from overpaint.bundle.format.bundle import Bundle
from overpaint.runtime.image import Sides

AUTO: Final = "auto"
LARGEST: Final = 16384
"""Pixels that a side may have in tiles."""
OVERLAP: Final = 4
"""One part of so many of a tile's shorter side lies in the next tile too."""
_USUAL: Final = 64
_SIZE: Final = re.compile(r"(\d{1,5})[xX×](\d{1,5})")

Size = tuple[int, int]


class _Trained(msgspec.Struct, frozen=True):
    """How many latent cells a side a denoiser was trained on, as its config.json says."""

    sample_size: int | None = None


def check_tile(tile: str | None) -> None:
    """Raise UsageError for a tile that is neither "auto" nor WIDTHxHEIGHT."""
    if tile not in (None, AUTO) and not _SIZE.fullmatch(tile):
        raise UsageError(f"tile: expected {AUTO}, or WIDTHxHEIGHT as in 512x512, got {tile!r}")


def tile_asked(tile: str | None, upscale: float | None) -> str | None:
    """What is asked for: a picture that is enlarged is tiled as it needs."""
    return AUTO if tile is None and upscale is not None else tile


def tile_size(tile: str) -> Size | None:
    """(width, height) of a tile as it is asked for; None: what the checkpoint was trained on."""
    asked = _SIZE.fullmatch(tile)
    return (int(asked[1]), int(asked[2])) if asked else None


def untiled(sides: Sides) -> Sides:
    """The sides that a picture may have in tiles, where an engine takes `sides`."""
    return replace(sides, maximum=LARGEST // sides.multiple * sides.multiple)


def tile_for(bundle: Bundle, tile: str | None, size: Size, sides: Sides) -> Size | None:
    """The (width, height) in pixels of a run's tiles for a picture of `size`; None where all of it
    is computed at once: without `tile`, or where it is no larger than one; "auto" leaves a picture
    of up to two tiles whole.

    Raises UsageError for tiles that the engines do not take.
    """
    if tile is None:
        return None
    asked = tile_size(tile)
    if asked is None:
        side = trained_on(bundle, sides)
        whole = size[0] * size[1] <= 2 * side * side and max(size) <= sides.maximum
        return None if whole else (min(side, size[0]), min(side, size[1]))
    try:
        width, height = sides.check(asked)
    except UsageError as error:
        raise UsageError(f"tile: {error}") from None
    if width >= size[0] and height >= size[1]:
        return None
    return min(width, size[0]), min(height, size[1])


def trained_on(bundle: Bundle, sides: Sides) -> int:
    """The side in pixels of the pictures that a denoiser knows."""
    manifest = bundle.manifest
    path = bundle.folder / manifest.denoiser / layout.CONFIG
    cells: int | None = None
    if path.is_file():
        try:
            cells = msgspec.convert(read_json(path), _Trained).sample_size
        except msgspec.ValidationError as error:
            raise BundleError(f"{path}: {error}") from None
    side = (cells or _USUAL) * manifest.latents.downscale
    return sides.nearest((side, side))[0]
