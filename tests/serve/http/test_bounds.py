"""What one client may take of the server: heads, methods, connections, jobs, patience."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest
from tests.serve import running
from tests.serve.engine import Knobs, fake_served
from tests.serve.running import Running, data_url, png, serving

from overpaint.serve.config import Config
from overpaint.serve.http import clients
from overpaint.serve.http.clients import Share
from overpaint.serve.http.limits import Limits
from overpaint.serve.http.links import is_signed, signed
from overpaint.serve.jobs.engines import worker
from overpaint.serve.pictures import fetch as fetching
from overpaint.serve.pictures.reader import Reader
from overpaint.serve.server import bind

TOKEN = "a token that is long enough"


def first_line(server: Running, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(request)
        return connection.recv(4096).split(b"\r\n")[0]


def test_large_heads_and_odd_methods_are_refused_at_once(server: Running) -> None:
    host = f"Host: 127.0.0.1:{server.port}\r\n".encode()
    large = b"GET /healthz HTTP/1.1\r\n" + host + b"X-A: " + b"a" * 70_000 + b"\r\n\r\n"
    middle = b"GET /healthz HTTP/1.1\r\n" + host + b"X-A: " + b"a" * 16_400 + b"\r\n\r\n"
    method = b"A" * 30_000 + b" /healthz HTTP/1.1\r\n" + host + b"\r\n"
    odd = b"BREW /healthz HTTP/1.1\r\n" + host + b"\r\n"
    began = time.monotonic()
    assert first_line(server, large).split()[1] in (b"431", b"400")
    assert first_line(server, middle).split()[1] == b"431"
    assert first_line(server, method).split()[1] in (b"405", b"400")
    assert first_line(server, odd).split()[1] == b"405"
    assert time.monotonic() - began < 3


@pytest.fixture
def small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel holds little for a client, so that the server has to."""

    def bind_small(host: str, port: int) -> socket.socket:
        listener = bind(host, port)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return listener

    monkeypatch.setattr(running, "bind", bind_small)


@contextmanager
def deaf(server: Running, request: str) -> Iterator[None]:
    """A client that asks and never reads."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.connect(("127.0.0.1", server.port))
        head = f"Host: 127.0.0.1:{server.port}\r\n"
        client.sendall(request.format(host=head).encode())
        yield


def connections(server: Running) -> int:
    """Open ones on the server's side, but for that of the test's own client."""
    server.client.get("/healthz")
    found = psutil.Process().net_connections("tcp")
    return sum(one.laddr.port == server.port and bool(one.raddr) for one in found) - 1


@pytest.mark.usefixtures("small_buffers")
@pytest.mark.parametrize("size", [40_000, 30_000_000])
def test_a_client_that_does_not_read_its_answer_is_dropped(folder: Path, size: int) -> None:
    limits = replace(Limits(), write_seconds=0.5)
    with serving(Config(port=0, limits=limits), [fake_served(folder)]) as server:
        key = "A" * 22
        server.state.media.put(key, bytes(size))
        with deaf(server, f"GET /v1/media/{key}.png HTTP/1.1\r\n{{host}}\r\n"):
            time.sleep(0.2)
            assert connections(server) == 1
            time.sleep(1.0)
            assert connections(server) == 0


@pytest.mark.usefixtures("small_buffers")
def test_a_client_that_does_not_read_its_events_is_dropped_and_its_job_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "PREVIEW_SECONDS", 0.0)
    limits = replace(Limits(), write_seconds=0.5)
    knobs = Knobs(step_seconds=0.03)
    ask = (
        "GET /v1/jobs/%s/events HTTP/1.1\r\n{host}Upgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with serving(Config(port=0, limits=limits), [fake_served(folder, knobs=knobs)]) as server:
        job = server.submit(size="256x256", steps=100)["id"]
        with deaf(server, ask % job):
            time.sleep(0.2)
            assert connections(server) == 1
            time.sleep(1.5)
            assert connections(server) == 0
            assert server.job(job)["status"] == "running"
            server.ended(job)


def test_a_client_that_reads_slowly_gets_all_of_its_answer(folder: Path) -> None:
    limits = replace(Limits(), write_seconds=0.5)
    with serving(Config(port=0, limits=limits), [fake_served(folder)]) as server:
        key = "A" * 22
        server.state.media.put(key, bytes(12_000_000))
        size = 0
        with server.client.stream("GET", f"/v1/media/{key}.png") as answer:
            for piece in answer.iter_raw(1_000_000):
                size += len(piece)
                time.sleep(0.15)
        assert size == 12_000_000


def test_an_address_has_its_share() -> None:
    share = Share(2)
    assert share.take("10.0.0.1")
    assert share.take("10.0.0.1")
    assert not share.take("10.0.0.1")
    assert share.take("10.0.0.2")
    share.give_back("10.0.0.1")
    assert share.take("10.0.0.1")
    assert all(share.take("127.0.0.1") and share.take("::1") for _ in range(9))


def test_one_address_has_so_many_jobs_and_connections(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "_is_own", lambda address: False)
    knobs = Knobs()
    knobs.gate.clear()
    limits = replace(Limits(), client_jobs=2, client_connections=5)
    with serving(Config(port=0, limits=limits), [fake_served(folder, knobs=knobs)]) as server:
        body = {"prompt": "x", "size": "64x64", "steps": 1}
        jobs = [server.submit(size="64x64", steps=1)["id"] for _ in range(2)]
        refused = server.client.post("/v1/jobs", json=body)
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "too_many_jobs"
        passed_on = server.client.post("/v1/jobs", json=body, headers={"X-Overpaint-Hop": "1"})
        assert passed_on.status_code == 202
        knobs.gate.set()
        assert all(server.ended(job)["status"] == "completed" for job in jobs)
        assert server.client.post("/v1/jobs", json=body).status_code == 202

        silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(8)]
        time.sleep(0.3)
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{server.url}/healthz")
        for one in silent:
            one.close()
        time.sleep(0.3)
        assert httpx.get(f"{server.url}/healthz").status_code == 200


def test_a_full_queue_is_noticed_before_a_picture_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    knobs = Knobs()
    knobs.gate.clear()
    read = []
    monkeypatch.setattr(Reader, "ask", lambda self, task, data, field: read.append(task))
    with serving(Config(port=0, queue=1), [fake_served(folder, knobs=knobs)]) as server:
        first = server.submit(size="64x64", steps=1)
        server.until(first["id"], "running")
        server.submit(size="64x64", steps=1)
        picture = data_url(png())
        answers = [
            server.client.post("/v1/jobs", json={"prompt": "x", "image": picture}),
            server.client.post("/sdapi/v1/img2img", json={"init_images": [picture]}),
            server.client.post("/v1/images/edits", data={"prompt": "x"}, files={"image": png()}),
        ]
        assert [one.status_code for one in answers] == [429] * 3
        assert not read
        knobs.gate.set()


def test_a_job_has_its_place_in_the_queue_from_the_first_answer_on(folder: Path) -> None:
    knobs = Knobs()
    knobs.gate.clear()
    with serving(Config(port=0), [fake_served(folder, knobs=knobs)]) as server:
        first = server.submit(size="64x64", steps=1)
        assert first["queue_position"] == 0
        server.until(first["id"], "running")
        places = [server.submit(size="64x64", steps=1)["queue_position"] for _ in range(3)]
        assert places == [0, 1, 2]
        knobs.gate.set()


def test_who_comes_while_an_engine_rests_is_told_for_how_long(folder: Path) -> None:
    knobs = Knobs(failures=[RuntimeError("broken") for _ in range(3)])
    with serving(Config(port=0), [fake_served(folder, knobs=knobs)]) as server:
        for _ in range(3):
            server.ended(server.submit(size="64x64", steps=1)["id"])
        answer = server.client.post("/v1/jobs", json={"prompt": "x", "size": "64x64"})
        assert answer.status_code == 503
        assert 20 <= int(answer.headers["Retry-After"]) <= 31


def test_links_to_pictures_need_no_token_and_open_nothing_else(folder: Path) -> None:
    with serving(Config(port=0, token=TOKEN), [fake_served(folder)]) as server:
        form = {"prompt": "x", "response_format": "url", "output_format": "webp"}
        answer = server.client.post("/v1/images/edits", data=form, files={"image": png()})
        url = answer.json()["data"][0]["url"]
        picture = httpx.get(url)
        assert picture.status_code == 200
        assert picture.headers["Content-Type"] == "image/webp"
        assert httpx.get(url.partition("?")[0]).status_code == 401
        assert httpx.get(url[:-4] + "AAAA").status_code == 401
        signature = url.partition("?")[2]
        assert httpx.get(f"{server.url}/v1/images/{'A' * 22}.webp?{signature}").status_code == 401
        assert httpx.get(f"{server.url}/v1/capabilities?{signature}").status_code == 401
        key = url.rpartition("/")[2].partition(".")[0]
        native = server.client.get(f"/v1/media/{key}.png")
        assert native.headers["Content-Type"] == "image/webp"


def test_a_signature_is_of_one_path_and_one_token() -> None:
    path, _, query = signed("/v1/images/a.png", TOKEN).partition("?")
    assert is_signed(path, query.encode(), TOKEN.encode())
    assert not is_signed("/v1/images/b.png", query.encode(), TOKEN.encode())
    assert not is_signed(path, query.encode(), b"another token altogether")
    assert not is_signed(path, b"signature=\xff", TOKEN.encode())
    assert signed("/v1/images/a.png", None) == "/v1/images/a.png"


def test_slow_names_do_not_hold_the_threads_of_others(
    server: Running, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    held = threading.Event()
    names = []

    def slow(host: str, port: int) -> list[str]:
        names.append(threading.current_thread().name)
        held.wait(10)
        return []

    monkeypatch.setattr(fetching.fetch, "__kwdefaults__", {"resolver": slow, "transport": None})
    config = Config(port=0, image_hosts=("slow.example",))
    with serving(config, [fake_served(folder)]) as running:
        body = json.dumps({"prompt": "x", "image": "https://slow.example/a.png"})

        def ask() -> None:
            httpx.post(
                f"{running.url}/v1/jobs",
                content=body,
                headers={"Content-Type": "application/json"},
                timeout=30,
            )

        threads = [threading.Thread(target=ask) for _ in range(40)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        began = time.monotonic()
        assert running.client.post("/v1/uploads", files={"file": png()}).status_code == 201
        assert running.client.get(f"/v1/media/{'A' * 22}.png").status_code == 404
        assert time.monotonic() - began < 6  # of the ten that a name takes
        held.set()
        for thread in threads:
            thread.join()
    assert names
    assert all(name.startswith("names") for name in names)
