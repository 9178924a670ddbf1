"""Uploads: what is taken, what it becomes, and how long it stays."""

from __future__ import annotations

import io
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from tests.serve.engine import fake_served
from tests.serve.running import Running, data_url, png, serving

from overpaint.serve.config import Config


def upload(server: Running, data: bytes, name: str = "a.png", **more: Any) -> Any:
    return server.client.post("/v1/uploads", files={"file": (name, data)}, **more)


def as_file(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def stored(server: Running, upload_id: str) -> Image.Image:
    return Image.open(io.BytesIO(server.state.uploads.get(upload_id)))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_is_taken_for_what_its_bytes_say(server: Running, kind: str) -> None:
    answer = upload(server, png(40, 24, kind=kind), name="../../etc/passwd.exe")
    assert answer.status_code == 201
    body = answer.json()
    assert (body["width"], body["height"]) == (40, 24)
    assert body["original"] == {"width": 40, "height": 24}
    assert body["expires_at"] == pytest.approx(time.time() + 300, abs=5)
    assert stored(server, body["id"]).format == "PNG"


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "ICO", "PPM"])
def test_other_formats_are_refused_whatever_they_call_themselves(
    server: Running, kind: str
) -> None:
    data = as_file(Image.new("RGB", (16, 16)), kind)
    answer = server.client.post("/v1/uploads", files={"file": ("a.png", data, "image/png")})
    assert answer.status_code == 415
    assert answer.json()["error"]["field"] == "file"


def test_a_large_picture_is_shrunk_to_fit_1024(server: Running) -> None:
    data = as_file(Image.linear_gradient("L").resize((3000, 1500)), "PNG")
    body = upload(server, data).json()
    assert (body["width"], body["height"]) == (1024, 512)
    assert body["original"] == {"width": 3000, "height": 1500}


def test_exif_orientation_is_applied(server: Running) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    data = as_file(Image.new("RGB", (40, 20), "red"), "JPEG", exif=exif)
    body = upload(server, data).json()
    assert (body["width"], body["height"]) == (20, 40)
    assert body["original"] == {"width": 20, "height": 40}


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparency_is_kept_for_it_may_be_a_mask(server: Running, kind: str) -> None:
    data = as_file(Image.new("RGBA", (16, 16), (255, 0, 0, 100)), kind, lossless=True)
    image = stored(server, upload(server, data).json()["id"])
    assert image.mode == "RGBA"
    assert image.getpixel((3, 3)) == (255, 0, 0, 100)


def test_a_transparent_picture_is_repainted_as_it_lies_on_white(server: Running) -> None:
    def painted(picture: Image.Image) -> Any:
        job = server.submit(image=data_url(as_file(picture, "PNG")), steps=2, seed=1)
        return server.pixels(server.ended(job["id"])["result"]["media"][0])

    half = Image.new("RGBA", (64, 64), (255, 0, 0, 128))
    on_white = Image.alpha_composite(Image.new("RGBA", half.size, "white"), half)
    assert np.array_equal(painted(half), painted(on_white.convert("RGB")))


def test_only_the_first_frame_is_taken(server: Running) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    data = as_file(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert stored(server, upload(server, data).json()["id"]).getpixel((3, 3)) == (255, 0, 0)


def test_nothing_but_the_pixels_survives(server: Running) -> None:
    """A picture that is a script as well, or carries a place, comes out as a picture alone."""
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "<script>alert(1)</script>")
    exif = Image.Exif()
    exif[0x010E] = "my home"
    data = as_file(Image.new("RGB", (16, 16)), "PNG", pnginfo=info, exif=exif)
    data += b"<?php system($_GET['c']); ?>PK\x03\x04"
    kept = server.state.uploads.get(upload(server, data).json()["id"])
    for trace in (b"script", b"my home", b"php", b"PK\x03\x04"):
        assert trace not in kept
    assert set(Image.open(io.BytesIO(kept)).info) == set()


def bomb(width: int, height: int) -> bytes:
    """A PNG of very many pixels in very few bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(
            ">I", zlib.crc32(kind + body)
        )  # fmt: skip

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((width // 8 + 1) * min(height, 200)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(4001, 4000), (30_000, 30_000), (2**31 - 1, 2**31 - 1)])
def test_a_decompression_bomb_is_refused_by_its_header(
    server: Running, size: tuple[int, int]
) -> None:
    started = time.monotonic()
    answer = upload(server, bomb(*size) if max(size) < 10**5 else bomb(64, 64).replace(
        struct.pack(">II", 64, 64), struct.pack(">II", *size)))  # fmt: skip
    assert answer.status_code in (413, 415)
    assert time.monotonic() - started < 2


def test_a_text_chunk_that_inflates_is_refused_or_ignored(server: Running) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("a", "x" * 90_000_000, zip=True)
    data = as_file(Image.new("RGB", (16, 16)), "PNG", pnginfo=info)
    assert len(data) < 200_000
    assert upload(server, data).status_code in (201, 415, 422)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 415),
        (b"hello", 415),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415),
        (b"\x89PNG\r\n\x1a\n", 415),
        (png(64, 64)[:2000], 422),
        (png(64, 64, kind="JPEG")[:1200], 422),
    ],
)
def test_what_is_no_whole_picture_is_refused(server: Running, data: bytes, status: int) -> None:
    answer = upload(server, data)
    assert answer.status_code == status
    assert answer.json()["error"]["field"] == "file"


def test_a_file_of_more_than_ten_megabytes_is_refused(server: Running) -> None:
    answer = upload(server, b"\x89PNG\r\n\x1a\n" + bytes(10_000_000))
    assert answer.status_code == 413


def test_a_form_without_a_file_names_the_part(server: Running) -> None:
    answer = server.client.post("/v1/uploads", files={"picture": ("a.png", png())})
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == "file"
    answer = server.client.post("/v1/uploads", files=[("file", ("a", png())), ("file", ("b", b""))])
    assert answer.status_code == 400
    answer = server.client.post("/v1/uploads", json={"file": "a"})
    assert answer.status_code == 422


def test_an_upload_expires(folder: Path) -> None:
    with serving(Config(port=0, upload_seconds=0.5), [fake_served(folder)]) as server:
        upload_id = server.upload(png())
        time.sleep(0.7)
        answer = server.client.post("/v1/jobs", json={"prompt": "red", "image": upload_id})
        assert answer.status_code == 410
        assert answer.json()["error"]["code"] == "upload_gone"
        assert server.state.uploads.size == 0


def test_an_upload_that_never_was_is_not_found(server: Running) -> None:
    for name in ("a" * 22, "../../../etc/passwd", "", "\x00"):
        answer = server.client.post("/v1/jobs", json={"prompt": "red", "image": name})
        assert answer.status_code == 404
        assert answer.json()["error"]["field"] == "image"


def test_uploads_together_stay_within_their_limit(folder: Path) -> None:
    with serving(Config(port=0, upload_bytes=60_000), [fake_served(folder)]) as server:
        ids = [server.upload(png(64, 64, seed=i)) for i in range(8)]  # 12 kB each
        assert server.state.uploads.size <= 60_000
        first = server.client.post("/v1/jobs", json={"prompt": "red", "image": ids[0]})
        assert first.status_code == 410
        server.submit(image=ids[-1])


def test_an_upload_can_be_used_again_and_again(server: Running) -> None:
    upload_id = server.upload(png())
    media = [
        server.ended(server.submit(image=upload_id, seed=1, steps=3)["id"])["result"]["media"][0]
        for _ in range(2)
    ]
    assert np.array_equal(server.pixels(media[0]), server.pixels(media[1]))
