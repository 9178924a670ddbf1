"""Bodies and heads that are too large, too slow, or too many."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.serve.engine import fake_served
from tests.serve.running import Running, data_url, png, serving

from overpaint.serve.config import Config
from overpaint.serve.http.limits import Limits
from overpaint.serve.pictures.reader import Reader

SHORT = replace(Limits(), body_seconds=0.6, header_seconds=0.5)


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    served = [fake_served(tmp_path_factory.mktemp("impatient"))]
    with serving(Config(port=0, limits=SHORT), served) as running:
        yield running


def raw(server: Running) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.settimeout(5)
    return connection


def head(server: Running, path: str, *lines: str) -> bytes:
    first = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{server.port}", *lines]
    return ("\r\n".join(first) + "\r\n\r\n").encode()


def read_all(connection: socket.socket) -> bytes:
    answer = b""
    while chunk := connection.recv(65536):
        answer += chunk
    return answer


def test_a_declared_length_over_the_limit_is_refused(server: Running) -> None:
    with raw(server) as connection:
        connection.sendall(head(server, "/v1/uploads", "Content-Length: 99999999999"))
        assert b" 413 " in read_all(connection).split(b"\r\n")[0]


def test_who_asks_before_sending_is_told_at_once(server: Running) -> None:
    """curl asks: Expect: 100-continue."""
    lines = ("Content-Length: 99999999999", "Expect: 100-continue")
    with raw(server) as connection:
        started = time.monotonic()
        connection.sendall(head(server, "/v1/uploads", *lines))
        assert b" 413 " in read_all(connection).split(b"\r\n")[0]
        assert time.monotonic() - started < 1


def test_a_chunked_body_is_cut_at_the_limit_while_it_arrives(server: Running) -> None:
    sent = 0

    def forever() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(40):
            sent += 1_000_000
            yield bytes(1_000_000)

    answer = server.client.post("/v1/uploads", content=forever())
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "too_large"


@pytest.mark.parametrize(
    ("path", "most"), [("/v1/jobs", Limits().job_body), ("/v1/uploads", Limits().upload_body)]
)
def test_a_body_over_the_limit_is_refused_before_a_parser_sees_it(
    server: Running, path: str, most: int
) -> None:
    answer = server.client.post(path, content=b"[" * (most + 1))
    assert answer.status_code == 413


def test_small_routes_take_small_bodies(server: Running) -> None:
    answer = server.client.request("DELETE", "/v1/jobs/x", content=bytes(70_000))
    assert answer.status_code == 413


def test_a_picture_of_ten_megabytes_fits_in_a_job_as_base64(server: Running) -> None:
    picture = png() + bytes(9_900_000)
    job = server.submit(image=data_url(picture), steps=1)
    assert server.ended(job["id"])["status"] == "completed"


def test_a_body_that_trickles_is_cut_off(impatient: Running) -> None:
    with raw(impatient) as connection:
        connection.sendall(head(impatient, "/v1/uploads", "Content-Length: 1000"))
        started = time.monotonic()
        answer = b""
        connection.settimeout(0.05)
        while time.monotonic() - started < 5 and not answer:
            connection.sendall(b"x")
            try:
                answer = connection.recv(4096)
            except TimeoutError:
                continue
        assert b" 408 " in answer
        assert time.monotonic() - started < 4


def test_a_head_that_trickles_is_cut_off(impatient: Running) -> None:
    with raw(impatient) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        started = time.monotonic()
        connection.settimeout(0.05)
        closed = False
        while time.monotonic() - started < 5 and not closed:
            try:
                connection.sendall(b"X-Slow: 1\r\n")
                closed = connection.recv(4096) == b""
            except TimeoutError:
                continue
            except OSError:
                closed = True
        assert closed
        assert time.monotonic() - started < 4


def test_a_connection_that_says_nothing_is_closed(impatient: Running) -> None:
    with raw(impatient) as connection:
        assert connection.recv(1) == b""


def test_a_second_request_on_a_connection_must_not_trickle_either(impatient: Running) -> None:
    with raw(impatient) as connection:
        connection.sendall(
            f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{impatient.port}\r\n\r\n".encode()
        )
        assert b" 200 " in connection.recv(65536)
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        assert connection.recv(65536) == b""


def test_slow_connections_do_not_keep_others_waiting(impatient: Running) -> None:
    slow = [raw(impatient) for _ in range(50)]
    try:
        for connection in slow:
            connection.sendall(head(impatient, "/v1/uploads", "Content-Length: 1000") + b"x")
        started = time.monotonic()
        assert impatient.client.get("/healthz").status_code == 200
        assert time.monotonic() - started < 1
    finally:
        for connection in slow:
            connection.close()


def test_a_head_without_end_is_refused(server: Running) -> None:
    with raw(server) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        sent, answer = 0, b""
        with contextlib.suppress(OSError):
            while sent < 50_000_000:
                sent += connection.send(b"X-Large: " + b"x" * 1000 + b"\r\n")
        with contextlib.suppress(OSError):
            answer = connection.recv(4096)
        assert b" 400 " in answer or not answer
        assert sent < 10_000_000  # what fits into the kernel's buffers


def test_bodies_that_arrive_at_once_are_bounded_together(folder: Path) -> None:
    limits = replace(Limits(), bodies_at_once=3_000_000, body_seconds=2.0)
    with serving(Config(port=0, limits=limits), [fake_served(folder)]) as server:
        slow = [raw(server) for _ in range(3)]
        try:
            for connection in slow:
                connection.sendall(head(server, "/v1/uploads", "Content-Length: 2000000"))
                connection.sendall(bytes(900_000))
            time.sleep(0.3)
            answer = httpx.post(f"{server.url}/v1/uploads", content=bytes(900_000))
            assert answer.status_code == 503
            assert answer.headers["retry-after"]
        finally:
            for connection in slow:
                connection.close()
        time.sleep(0.2)
        assert httpx.post(f"{server.url}/v1/uploads", content=bytes(900_000)).status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[" * 100_000,
        b'{"seed": ' + b"9" * 10_000 + b"}",
        b'{"strength": NaN}',
        b"\xff\xfe",
        b'{"prompt": "\\ud800"}',
        b"null",
        b"7",
    ],
)
def test_what_is_no_proper_json_is_refused_in_one_line(server: Running, body: bytes) -> None:
    answer = server.client.post(
        "/v1/jobs", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]["message"]


def test_bodies_are_counted_until_their_pictures_are_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred uploads that had arrived and waited for a decoder took ten times the limit."""
    reading = threading.Event()
    real = Reader.ask

    def slow(self: Reader, task: str, data: bytes, field: str) -> Any:
        reading.wait(10)
        return real(self, task, data, field)

    monkeypatch.setattr(Reader, "ask", slow)
    limits = replace(Limits(), bodies_at_once=3_000_000)
    with serving(Config(port=0, limits=limits), [fake_served(folder)]) as server:
        files = {"file": png() + bytes(900_000)}

        def upload() -> int:
            return httpx.post(f"{server.url}/v1/uploads", files=files, timeout=30).status_code

        with ThreadPoolExecutor(8) as pool:
            uploads = [pool.submit(upload) for _ in range(8)]
            time.sleep(1.0)
            reading.set()
            answers = sorted(one.result() for one in uploads)
        assert answers == [201] * 3 + [503] * 5
        assert upload() == 201
