"""Any picture becomes an upright RGB image, or one line that says why not."""

from __future__ import annotations

import contextlib
import io
import struct
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from overpaint.bundle.errors import ImageError
from overpaint.runtime.image import FORMATS, read

LOSSY = ("JPEG", "AVIF", "HEIC")
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def quadrants(width: int = 40, height: int = 24) -> Image.Image:
    """Red, green over blue, white: every flip and turn of it is another picture."""
    image = Image.new("RGB", (width, height), "white")
    image.paste(RED, (0, 0, width // 2, height // 2))
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    return image


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    if kind == "HEIC":
        pillow_heif = pytest.importorskip("pillow_heif")
        pillow_heif.register_heif_opener()
        kind = "HEIF"
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def corner(image: Image.Image) -> tuple[int, ...]:
    pixel = image.getpixel((2, 2))
    assert isinstance(pixel, tuple)
    return pixel


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_is_recognised_by_its_bytes_and_not_by_its_name(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "picture.dat"
    path.write_bytes(encoded(quadrants(), kind, **({"quality": 95} if kind in LOSSY else {})))
    image = read(path).image
    assert (image.mode, image.size) == ("RGB", (40, 24))
    assert np.abs(np.subtract(corner(image), RED)).max() <= 4


def test_paths_bytes_files_pil_images_and_arrays_give_the_same_picture(tmp_path: Path) -> None:
    image = quadrants()
    (tmp_path / "a.png").write_bytes(encoded(image, "PNG"))
    with (tmp_path / "a.png").open("rb") as file:
        sources = [
            tmp_path / "a.png",
            str(tmp_path / "a.png"),
            (tmp_path / "a.png").read_bytes(),
            file,
            image,
            np.asarray(image),
            np.asarray(image) / 255.0,
            np.asarray(image, np.float32) / 255,
        ]
        for source in sources:
            assert read(source).image.tobytes() == image.tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIC"])
def test_a_picture_stands_upright_however_the_camera_was_held(kind: str, orientation: int) -> None:
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = quadrants().transpose(turn[orientation]) if orientation > 1 else quadrants()
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = read(encoded(stored, kind, exif=exif.tobytes(), quality=95)).image
    assert upright.size == (40, 24)
    for centre in [(10, 6), (30, 6), (10, 18), (30, 18)]:  # JPEG halves the resolution of colour
        difference = np.subtract(upright.getpixel(centre), quadrants().getpixel(centre))
        assert np.abs(difference).max() <= 16


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("AVIF", r"phone\.dat: is an AVIF picture, .* pip install --upgrade Pillow"),
        ("HEIC", r"phone\.dat: is a HEIC picture, .* pip install .*heif"),
    ],
)
def test_a_kind_that_nothing_here_reads_is_named_with_what_would(
    kind: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "phone.dat").write_bytes(encoded(quadrants(), kind))
    monkeypatch.delitem(Image.OPEN, "AVIF")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=says):
        read(tmp_path / "phone.dat")


def test_transparency_is_laid_on_white_and_said() -> None:
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 128))
    picture = read(encoded(image, "PNG"))
    assert picture.image.mode == "RGB"
    assert corner(picture.image) == (255, 127, 127)
    assert "laid on white" in picture.notes[0]


def test_an_opaque_alpha_channel_changes_nothing_and_is_not_mentioned() -> None:
    picture = read(encoded(quadrants().convert("RGBA"), "PNG"))
    assert picture.image.tobytes() == quadrants().tobytes()
    assert picture.notes == ()


def test_palettes_grey_and_bilevel_pictures_become_rgb() -> None:
    grey = Image.linear_gradient("L")
    for image, kind in [
        (quadrants().quantize(4), "PNG"),
        (quadrants().quantize(4), "GIF"),
        (grey, "PNG"),
        (grey, "JPEG"),
        (grey.convert("1"), "PNG"),
        (Image.merge("LA", (grey, Image.new("L", grey.size, 255))), "PNG"),
    ]:
        expected = np.asarray(image.convert("RGB"), int)
        assert np.abs(np.asarray(read(encoded(image, kind)).image, int) - expected).max() <= 4


def test_a_transparent_palette_entry_becomes_white() -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([255, 0, 0])
    assert corner(read(encoded(image, "PNG", transparency=0)).image) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_keeps_its_colours(kind: str) -> None:
    """Adobe writes JPEG's inks inverted; a decoder that misses it shows a negative."""
    image = read(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), kind)).image
    assert np.abs(np.subtract(corner(image), RED)).max() <= 4


def test_sixteen_bit_grey_is_scaled_and_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16)[None].repeat(4, axis=0)
    expected = np.rint(ramp / 257).astype(np.uint8)
    for kind in ("PNG", "TIFF"):
        image = read(encoded(Image.fromarray(ramp), kind)).image
        assert (np.asarray(image) == expected[..., None]).all()


def test_sixteen_bit_colour_is_read() -> None:
    """Written by hand: Pillow reads 16-bit RGB but does not write it."""
    row = b"\0" + struct.pack(">6H", 65535, 0, 0, 0, 0, 65535)

    def chunk(name: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
    png = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    assert list(np.asarray(read(png).image)[0].reshape(-1)) == [*RED, *BLUE]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation_is_taken_and_said(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    picture = read(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
    assert np.abs(np.subtract(corner(picture.image), RED)).max() <= 8
    assert "first frame" in picture.notes[0]


def test_what_is_missing_empty_or_no_picture_ends_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "notes.jpg").write_text("dear diary, this is not a JPEG at all\n")
    whole = encoded(Image.effect_noise((64, 64), 80).convert("RGB"), "JPEG")
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    for name, expected in {
        "absent.png": "no such file",
        "empty.png": "0 bytes",
        "notes.jpg": "not a picture",
        "cut.jpg": "damaged or cut short",
        ".": "folder",
    }.items():
        with pytest.raises(ImageError, match=expected) as refusal:
            read(tmp_path / name)
        assert "\n" not in str(refusal.value)
        assert str(tmp_path) in str(refusal.value)


def test_a_url_is_not_fetched() -> None:
    with pytest.raises(ImageError, match="URL"):
        read("https://example.org/cat.png")


@pytest.mark.parametrize("side", [9000, 12000, 60000])
def test_a_bomb_is_refused_by_its_header_alone(side: int) -> None:
    """A few bytes declare up to 3.6 thousand million pixels; Pillow's own warning stays quiet."""
    png = bytearray(encoded(Image.new("1", (1, 1)), "PNG"))
    png[16:24] = struct.pack(">II", side, side)
    png[29:33] = struct.pack(">I", zlib.crc32(bytes(png[12:29])))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with pytest.raises(ImageError, match="million pixels"):
            read(bytes(png))
    assert said == []


def test_arrays_of_a_wrong_range_dtype_or_shape_are_refused() -> None:
    good = np.zeros((4, 4, 3))
    for array, expected in [
        (good + 255, r"\[0, 1\]"),
        (good - 1, r"\[0, 1\]"),
        (good + np.nan, r"\[0, 1\]"),
        (good.astype(np.int64), "int64"),
        (np.zeros((2, 4, 4, 3), np.uint8), "shape"),
        (np.zeros((4, 4, 2), np.uint8), "shape"),
        (np.zeros((0, 4, 3), np.uint8), "pixel"),
    ]:
        with pytest.raises(ImageError, match=expected):
            read(array)


@settings(deadline=None)
@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_a_lossless_file_gives_its_pixels_back(pixels: np.ndarray) -> None:
    for kind in ("PNG", "BMP", "TIFF"):
        assert (np.asarray(read(encoded(Image.fromarray(pixels), kind)).image) == pixels).all()


@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from(FORMATS),
    cuts=st.lists(st.tuples(st.integers(0, 10_000), st.binary(max_size=8)), max_size=4),
    length=st.integers(0, 3000),
)
def test_damaged_bytes_give_a_picture_or_an_image_error_and_nothing_else(
    kind: str, cuts: list[tuple[int, bytes]], length: int
) -> None:
    data = bytearray(encoded(quadrants(), kind))
    for at, junk in cuts:
        data[at % len(data) : at % len(data) + len(junk)] = junk
    kept = bytes(data[: len(data) - length] if length < len(data) else data)
    with contextlib.suppress(ImageError):
        assert read(kept).image.mode == "RGB"


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ImageError):
        read(data)
