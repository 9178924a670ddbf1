"""A picture's colours are read as what they look like; Adobe RGB is wider than sRGB."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms

from overpaint.runtime.image import read

ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
"""Red, green and blue of Adobe RGB (1998) as XYZ beside the white of D50; its gamma is below."""
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
GAMMA = 563 / 256


def adobe_rgb() -> bytes:
    """The profile, version 2: a matrix and a gamma (ICC.1:2001-04)."""

    def xyz(values: tuple[float, ...]) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in values))

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(GAMMA * 256)) + bytes(2)
    name = b"Adobe RGB (1998), made by hand\0"
    text = b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + bytes(78)
    tags = {
        b"desc": text + bytes(-len(text) % 4),
        b"cprt": b"text\0\0\0\0none\0\0\0\0",
        b"wtpt": xyz((0.9642, 1.0, 0.8249)),
        **{b"%cXYZ" % c: xyz(v) for c, v in zip(b"rgb", ADOBE, strict=True)},
        **{b"%cTRC" % c: curve for c in b"rgb"},
    }
    at = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for tag, data in tags.items():
        table += tag + struct.pack(">II", at + len(body), len(data))
        body += data
    head = struct.pack(
        ">I4sI4s4s4s", at + len(body), b"lcms", 0x02100000, b"mntr", b"RGB ", b"XYZ "
    )
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += struct.pack(">3i", *(round(v * 65536) for v in (0.9642, 1.0, 0.8249)))
    return head.ljust(128, b"\0") + table + body


def in_srgb(adobe: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """What the colours (…,3) are in sRGB, by the two spaces' definitions."""
    linear = (adobe / 255) ** GAMMA @ np.array(ADOBE) @ np.linalg.inv(np.array(SRGB))
    linear = linear.clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(encoded * 255, np.float64)


COLOURS = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)


def saved(image: Image.Image, kind: str, icc: bytes, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, icc_profile=icc, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_wide_colours_become_those_of_srgb(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    picture = read(saved(Image.fromarray(COLOURS), kind, adobe_rgb(), **options))
    found = np.asarray(picture.image, np.float64)
    assert np.abs(found - in_srgb(COLOURS)).max() < 2
    assert np.abs(found - COLOURS).max() > 20
    assert picture.notes == (
        "the image: colours converted from Adobe RGB (1998), made by hand to sRGB",
    )


def test_transparency_stays_where_it_was() -> None:
    rgba = np.dstack([COLOURS, np.full((40, 40), 128, np.uint8)])
    picture = read(saved(Image.fromarray(rgba), "PNG", adobe_rgb()))
    expected = 255 + (in_srgb(COLOURS) - 255) * 128 / 255
    assert np.abs(np.asarray(picture.image, np.float64) - expected).max() < 2
    assert len(picture.notes) == 2


def test_a_palettes_colours_are_converted_too() -> None:
    flat = Image.fromarray(COLOURS).quantize(64)
    picture = read(saved(flat, "PNG", adobe_rgb()))
    expected = in_srgb(np.asarray(flat.convert("RGB")))
    assert np.abs(np.asarray(picture.image, np.float64) - expected).max() < 2


def test_srgb_is_left_alone_and_nothing_is_said() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = read(saved(Image.fromarray(COLOURS), "PNG", srgb))
    np.testing.assert_array_equal(np.asarray(picture.image), COLOURS)
    assert picture.notes == ()


def broken() -> dict[str, bytes]:
    whole = adobe_rgb()
    return {
        "rubbish": b"no profile at all",
        "cut short": whole[:200],
        "no tags": whole[:128] + struct.pack(">I", 0),
        "of grey": whole.replace(b"RGB XYZ ", b"GRAYXYZ "),
        "its curves lost": whole.replace(b"curv", b"cuvr"),
    }


@pytest.mark.parametrize("harm", broken())
def test_a_broken_profile_is_told_and_ignored(harm: str) -> None:
    picture = read(saved(Image.fromarray(COLOURS), "PNG", broken()[harm]))
    np.testing.assert_array_equal(np.asarray(picture.image), COLOURS)
    [note] = picture.notes
    assert note.startswith("the image: its colour profile")
    assert "ignored" in note
    assert "\n" not in note
