"""Whatever was given for a control network -> the map that it sees, at the run's size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from overpaint.bundle.errors import UsageError
from overpaint.bundle.format.controlnet import ControlNet
from overpaint.runtime.image import Placement, place, read, to_pixels

from .canny import canny
from .control import Control


@dataclass(frozen=True, slots=True)
class Own:
    """The picture that is repainted, its sha256 as it was read, and, if a part of it is repainted
    alone, how that comes to the run. Of a masked one the canvas that is run, what of that is
    hidden (H,W), and how much each latent cell may change (1,1,h,w)."""

    picture: Image.Image = field(repr=False)
    sha256: str
    part: Placement | None
    masked: tuple[Image.Image, npt.NDArray[np.bool_], npt.NDArray[np.float32]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Controlling:
    """One network's part in a run. pixels: (1,3,H,W) float32 in [-1,1]. sha256: of what was read,
    as `Picture.sha256` has it. kept: (1,1,h,w), what a network that sees the mask is told to keep.
    """

    name: str
    control: Control
    pixels: npt.NDArray[np.float32] = field(repr=False)
    sha256: str
    model: str
    model_sha256: str
    kept: npt.NDArray[np.float32] | None = field(default=None, repr=False)

    def told(self) -> dict[str, Any]:
        """What a picture's parameters say of it."""
        control = self.control
        return {
            "name": self.name,
            "model": self.model,
            "model_sha256": self.model_sha256,
            "picture_sha256": self.sha256,
            "preprocessor": control.preprocessor,
            "scale": control.scale,
            "start": control.start,
            "end": control.end,
            "kind": control.kind,
        }

    @property
    def map(self) -> npt.NDArray[np.float32]:
        """The same in [0,1], which networks beside a UNet take."""
        return self.pixels * np.float32(0.5) + np.float32(0.5)


def controlling(
    asked: Mapping[str, Control],
    known: Mapping[str, ControlNet],
    own: Own | None,
    size: tuple[int, int],
    resize: str,
) -> tuple[Controlling, ...]:
    """What is asked of the networks that are `known`, for a run of `size` (width, height), without
    a picture of its `own` where it is text to image. Maps are cut as that is.

    Raises UsageError for names and kinds that there are not, ImageError for what cannot be read.
    """
    found = []
    for name, control in asked.items():
        if not isinstance(control, Control):
            raise UsageError(f"control {name}: expected a Control, got {type(control).__name__}")
        if name not in known:
            there = f"there are {', '.join(known)}" if known else "open the pipeline with one"
            raise UsageError(f"control {name}: no such control network is open; {there}")
        check_kind(name, control, known[name].types)
        if known[name].sees_mask:
            pixels, sha256, kept = _masked(name, control, own)
        else:
            picture, sha256 = _picture(name, control, own)
            placed = _placed(picture, own, size, resize)
            pixels, kept = to_pixels(_made(placed, control.preprocessor)), None
        found.append(
            Controlling(
                name=name,
                control=control,
                pixels=pixels,
                sha256=sha256,
                kept=kept,
                model=known[name].name,
                model_sha256=known[name].source.sha256,
            )
        )
    return tuple(found)


def check_kind(name: str, control: Control, types: int | None) -> None:
    """Raise UsageError where a union network of so many `types` is not told what it sees, or
    another is."""
    if types is None and control.kind is not None:
        raise UsageError(f"control {name}: this network knows one kind of picture; leave kind out")
    if types is not None and (control.kind is None or control.kind >= types):
        got = "none" if control.kind is None else control.kind
        raise UsageError(
            f"control {name}: a union network is told what it sees: expected a kind from 0 to "
            f"{types - 1}, got {got}"
        )


def check_picture(name: str, control: Control, *, with_image: bool) -> None:
    """Raise UsageError where there is nothing to show. with_image: whether one is repainted."""
    if control.picture is not None:
        return
    if control.preprocessor == "map":
        raise UsageError(
            f"control {name}: a map is given, as a picture; canny and tile can be made of the one "
            "that is repainted"
        )
    if not with_image:
        raise UsageError(f"control {name}: text to image has no picture of its own; give it one")


def _picture(name: str, control: Control, own: Own | None) -> tuple[Image.Image, str]:
    if control.picture is not None:
        picture = read(control.picture)
        return picture.image, picture.sha256
    check_picture(name, control, with_image=own is not None)
    assert own is not None
    return own.picture, own.sha256


def _masked(
    name: str, control: Control, own: Own | None
) -> tuple[npt.NDArray[np.float32], str, npt.NDArray[np.float32]]:
    """What a network that sees the mask is shown: black under it, and where nothing is."""
    if own is None or own.masked is None or control.picture is not None:
        raise UsageError(
            f"control {name}: this network fills a mask; give the run a picture and its mask, and "
            "the network nothing of its own (tile)"
        )
    canvas, hidden, cells = own.masked
    pixels = np.where(hidden, np.float32(-1), to_pixels(canvas))
    return pixels, own.sha256, (cells == 0).astype(np.float32)


def _placed(
    picture: Image.Image,
    own: Own | None,
    size: tuple[int, int],
    resize: str,
) -> Image.Image:
    if own is None or own.part is None:
        return place(picture.size, size, resize).canvas(picture)
    if picture.size != own.picture.size:
        picture = place(picture.size, own.picture.size, resize).canvas(picture)
    return own.part.canvas(picture)


def _made(picture: Image.Image, preprocessor: str) -> Image.Image:
    return canny(picture).convert("RGB") if preprocessor == "canny" else picture
