"""Pictures that are made to cost their reader everything cost their sender an answer."""

from __future__ import annotations

import base64
import contextlib
import io
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from tests.serve.engine import fake_served
from tests.serve.masks import as_png, clear
from tests.serve.running import Running, data_url, png, serving

from overpaint.serve.config import Config
from overpaint.serve.http.limits import Limits
from overpaint.serve.http.problems import ApiError
from overpaint.serve.pictures.intake import SCANS
from overpaint.serve.pictures.reader import Reader


def many_scans(scans: int, side: int = 4000) -> bytes:
    """A progressive JPEG whose last scan is repeated: little to send, much to decode."""
    file = io.BytesIO()
    Image.new("L", (side, side), 128).save(file, "JPEG", progressive=True)
    whole = file.getvalue()
    last = whole.rindex(b"\xff\xda")
    scan = whole[last:-2]
    return whole[:last] + scan * scans + whole[-2:]


HOSTILE = many_scans(30_230)
SLOW = many_scans(SCANS - 20)  # not so many that they are counted and refused


@pytest.fixture
def reader(request: pytest.FixtureRequest) -> Iterator[Reader]:
    one = Reader(replace(Limits(), **getattr(request, "param", {})))
    yield one
    one.close()


def ask(reader: Reader, data: bytes) -> dict[str, Any]:
    return reader.ask("clean", data, "file")[0]


FACES = {
    "upload": lambda data: {"url": "/v1/uploads", "files": {"file": data}},
    "job": lambda data: {"url": "/v1/jobs", "json": {"prompt": "x", "image": data_url(data)}},
    "openai": lambda data: {
        "url": "/v1/images/edits",
        "files": {"image": data},
        "data": {"prompt": "x"},
    },
    "img2img": lambda data: {
        "url": "/sdapi/v1/img2img",
        "json": {"init_images": [base64.b64encode(data).decode()]},
    },
    "png-info": lambda data: {
        "url": "/sdapi/v1/png-info",
        "json": {"image": base64.b64encode(data).decode()},
    },
}


@pytest.mark.parametrize("face", FACES)
def test_every_face_answers_a_jpeg_of_thirty_thousand_scans_at_once(
    server: Running, face: str
) -> None:
    assert len(HOSTILE) < 1_000_000
    began = time.monotonic()
    answer = server.client.post(**FACES[face](HOSTILE))
    assert answer.status_code in (400, 422)
    assert time.monotonic() - began < 5


def test_every_face_reads_pictures_in_a_process_of_their_own(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    real = Reader.ask

    def asked(self: Reader, task: str, data: bytes, field: str) -> Any:
        seen.append(task)
        return real(self, task, data, field)

    monkeypatch.setattr(Reader, "ask", asked)
    for call in FACES.values():
        assert server.client.post(**call(png())).status_code < 300
    assert seen == ["clean", "clean", "clean", "clean", "texts"]


MASKED = {
    "job": lambda data: {
        "url": "/v1/jobs",
        "json": {"prompt": "x", "image": data_url(png()), "mask": data_url(data)},
    },
    "openai": lambda data: {
        "url": "/v1/images/edits",
        "files": {"image": png(), "mask": data},
        "data": {"prompt": "x"},
    },
    "img2img": lambda data: {
        "url": "/sdapi/v1/img2img",
        "json": {
            "init_images": [base64.b64encode(png()).decode()],
            "mask": base64.b64encode(data).decode(),
        },
    },
}


def test_so_are_masks(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = Reader.ask

    def asked(self: Reader, task: str, data: bytes, field: str) -> Any:
        seen.append((task, field))
        return real(self, task, data, field)

    monkeypatch.setattr(Reader, "ask", asked)
    for call in MASKED.values():
        assert server.client.post(**call(as_png(clear()))).status_code < 300
    assert [one for one in seen if one[1] == "mask"] == [
        ("clean", "mask"),
        ("transparent", "mask"),
        ("opaque", "mask"),
    ]


@pytest.mark.parametrize("face", MASKED)
def test_a_hostile_mask_is_answered_at_once(server: Running, face: str) -> None:
    began = time.monotonic()
    assert server.client.post(**MASKED[face](HOSTILE)).status_code in (400, 422)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("reader", [{"decode_seconds": 0.3}], indirect=True)
def test_a_picture_that_takes_too_long_ends_its_reader_and_no_other(reader: Reader) -> None:
    assert ask(reader, png())["size"] == [64, 64]
    began = time.monotonic()
    with pytest.raises(ApiError, match=r"more than 0\.3 seconds") as refused:
        ask(reader, SLOW)
    assert refused.value.status == 422
    assert time.monotonic() - began < 5
    assert ask(reader, png())["size"] == [64, 64]


@pytest.mark.parametrize("reader", [{"decode_bytes": 250_000_000}], indirect=True)
def test_a_picture_that_takes_too_much_memory_is_refused(reader: Reader) -> None:
    large = io.BytesIO()
    Image.new("RGBA", (4000, 4000)).save(large, "PNG")
    with pytest.raises(ApiError) as refused:
        ask(reader, large.getvalue())
    assert refused.value.status == 422
    assert ask(reader, png())["size"] == [64, 64]


def test_a_reader_that_was_killed_meanwhile_is_begun_anew(reader: Reader) -> None:
    ask(reader, png())
    process = reader._process
    assert process is not None
    process.kill()
    process.wait()
    assert ask(reader, png())["size"] == [64, 64]


def test_a_server_ends_while_hostile_pictures_are_being_read(folder: Path) -> None:
    limits = replace(Limits(), decode_seconds=600.0, decode_bytes=3_000_000_000)
    slowest = many_scans(SCANS - 20, side=8000)
    pixels = replace(limits, image_pixels=64_000_000)
    with serving(Config(port=0, limits=pixels), [fake_served(folder)]) as server:

        def upload() -> None:
            with contextlib.suppress(httpx.HTTPError):
                httpx.post(f"{server.url}/v1/uploads", files={"file": slowest}, timeout=60)

        threads = [threading.Thread(target=upload) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(1.0)
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 10
        for thread in threads:
            thread.join()
