"""Colours as an ICC profile has them -> sRGB, which is what models were trained on."""

from __future__ import annotations

import io
from typing import Any, Final

from PIL import Image

_COLOURS_OF: Final = {"RGB": "RGB ", "RGBA": "RGB ", "CMYK": "CMYK", "L": "GRAY", "LAB": "Lab "}
"""The modes that are converted, and what an ICC profile calls their space."""


def to_srgb(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """`image` with the colours of sRGB, and notes on what was done; itself where it is sRGB.

    Perceptual, with black point compensation, as browsers do. A profile that is broken, or of
    another kind of picture, is told of and ignored.
    """
    icc = image.info.get("icc_profile")
    if not icc:
        return image, []
    from PIL import ImageCms  # littlecms, which untagged pictures need not wait for

    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        name = " ".join(ImageCms.getProfileDescription(profile).split()) or "without a name"
        flat = _without_palette(image)
        wanted = _COLOURS_OF.get(flat.mode)
        space = profile.profile.xcolor_space
        if wanted is None or space != wanted:
            return image, [f"its colour profile ({name}) is for {space.strip()}: ignored"]
        if _is_srgb(ImageCms, profile, flat.mode):
            return image, []
        return _converted(ImageCms, flat, profile), [f"colours converted from {name} to sRGB"]
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        why = " ".join(str(error).split())
        return image, [f"its colour profile is broken and was ignored ({why})"]


def _without_palette(image: Image.Image) -> Image.Image:
    """A palette's colours and grey with alpha have no conversion of their own."""
    if image.mode == "P":
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    if image.mode == "RGB" and image.has_transparency_data:
        return image.convert("RGBA")
    return image


def _converted(cms: Any, image: Image.Image, profile: Any) -> Image.Image:
    made = cms.profileToProfile(
        image,
        profile,
        cms.createProfile("sRGB"),
        renderingIntent=cms.Intent.PERCEPTUAL,
        outputMode="RGBA" if image.mode == "RGBA" else "RGB",
        flags=cms.Flags.BLACKPOINTCOMPENSATION,
    )
    assert made is not None  # nothing was asked to be done in place
    return made  # type: ignore[no-any-return]


def _is_srgb(cms: Any, profile: Any, mode: str) -> bool:
    """Whether the conversion would change no colour by more than one level."""
    if mode not in ("RGB", "RGBA"):
        return False
    levels = range(0, 256, 51)
    cube = Image.new("RGB", (len(levels) ** 2, len(levels)))
    cube.putdata([(r, g, b) for r in levels for g in levels for b in levels])
    before, after = cube.tobytes(), _converted(cms, cube, profile).tobytes()
    return max(abs(a - b) for a, b in zip(before, after, strict=True)) <= 1
