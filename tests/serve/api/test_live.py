"""Live over one WebSocket: frames in, repainted frames out, the newest first, beside jobs."""

from __future__ import annotations

import io
import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.serve.engine import Knobs, fake_served
from tests.serve.process import started, wait_until
from tests.serve.running import Running, png, serving
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from overpaint.bundle.errors import UsageError
from overpaint.runtime import Img2Img
from overpaint.serve.config import Config
from overpaint.serve.http.limits import Limits
from overpaint.serve.jobs.engines.bundles import Opening, served_bundle

ASKED: dict[str, Any] = {"prompt": "red", "strength": 0.6, "steps": 2, "seed": 5, "size": "64x64"}


@dataclass
class Client:
    """One session. `pictures` are (line, file) as they came; `errors` the other lines."""

    socket: ClientConnection
    pictures: list[tuple[dict[str, Any], bytes]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)

    def say(self, **message: Any) -> None:
        self.socket.send(json.dumps(message))

    def line(self) -> dict[str, Any]:
        text = self.socket.recv(20)
        assert isinstance(text, str)
        return dict(json.loads(text))

    def begin(self, **asked: Any) -> dict[str, Any]:
        self.say(**{**ASKED, **asked})
        return self.line()

    def hear(self) -> dict[str, Any]:
        """The next line, with the picture that follows it kept."""
        line = self.line()
        if line["type"] == "picture":
            file = self.socket.recv(20)
            assert isinstance(file, bytes)
            self.pictures.append((line, file))
        else:
            self.errors.append(line)
        return line

    def repaint(self, frame: bytes) -> bytes:
        self.socket.send(frame)
        assert self.hear()["type"] == "picture", self.errors
        return self.pictures[-1][1]

    def closed(self) -> int:
        """The code that the server closes with, after all that it says."""
        with pytest.raises(ConnectionClosed) as closed:
            self.hear_all()
        assert closed.value.rcvd is not None
        return closed.value.rcvd.code

    def hear_all(self) -> None:
        while True:
            self.hear()


@contextmanager
def live(server: Any, **options: Any) -> Iterator[Client]:
    url = f"{server.url.replace('http', 'ws')}/v1/live"
    with connect(url, proxy=None, max_size=None, **options) as socket:
        yield Client(socket)


def pixels(file: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB")).astype(int)


def figure(server: Running, name: str) -> float:
    lines = server.client.get("/metrics").text.splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(name)))


def until(true: Any) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_frame_comes_back_as_the_picture_that_python_makes_of_it(tmp_path: Path) -> None:
    """The embedded model, on a real server: PNG for PNG the pixels of `pipe.live`."""
    frame = Path("examples/summer.png").read_bytes()
    asked: dict[str, Any] = {"strength": 0.6, "steps": 2, "seed": 5}
    prompt = "winter mountains at night"
    with Img2Img.open() as pipe, pipe.live(prompt, **asked) as run:
        wanted = np.asarray(run(frame))
    served = [served_bundle(None, Opening(device="auto"))]
    with serving(Config(port=0), served) as server, live(server) as client:
        client.say(prompt=prompt, format="png", **asked)
        ready = client.line()
        assert (ready["type"], ready["size"], ready["seed"]) == ("ready", "128x128", 5)
        assert np.array_equal(pixels(client.repaint(frame)), wanted)


def test_pictures_are_jpegs_and_pngs_on_request(server: Running) -> None:
    for asked, kind in (({}, "JPEG"), ({"format": "png"}, "PNG")):
        with live(server) as client:
            assert client.begin(**asked)["type"] == "ready"
            for form in ("PNG", "JPEG", "WEBP"):
                shown = Image.open(io.BytesIO(client.repaint(png(kind=form))))
                assert (shown.format, shown.size) == (kind, (64, 64))
            assert [line["frame"] for line, _ in client.pictures] == [1, 2, 3]
            assert all(line["seconds"] > 0 for line, _ in client.pictures)


def test_the_size_is_the_models_own_where_none_is_asked_for(server: Running) -> None:
    with live(server) as client:
        client.say(prompt="red")
        ready = client.line()
        assert ready["size"] == "64x64"
        assert ready["seed"] >= 0
        shown = client.repaint(png(200, 100))
        assert Image.open(io.BytesIO(shown)).size == (64, 64)


def test_prompt_and_strength_change_with_the_next_frame(server: Running) -> None:
    with live(server) as client:
        client.begin(format="png")
        first = client.repaint(png())
        assert client.repaint(png()) == first  # one seed, one noise: nothing flickers
        client.say(prompt="blue, and quite another thing")
        other = client.repaint(png())
        assert other != first
        client.say(prompt="red", strength=0.9)
        assert client.repaint(png()) not in (first, other)
        client.say(strength=0.6)
        assert client.repaint(png()) == first


def test_the_newest_frame_wins_and_what_it_replaced_is_told(folder: Path) -> None:
    knobs = Knobs()
    with (
        serving(Config(port=0), [fake_served(folder, knobs=knobs)]) as server,
        live(server) as client,
    ):
        client.begin(format="png")
        knobs.gate.clear()
        client.socket.send(png(seed=1))
        until(lambda: knobs.count("unet") == 1)
        for seed in range(2, 40):
            client.socket.send(png(seed=seed))
        last = png(seed=40)
        client.socket.send(last)
        server.client.get("/healthz")
        time.sleep(1)  # until they are there and read
        knobs.gate.set()
        told = [client.hear(), client.hear()]
        assert [line["frame"] for line in told] == [1, 40]
        assert [line["dropped"] for line in told] == [38, 38]
        assert client.pictures[-1][1] == client.repaint(last)
        assert figure(server, 'overpaint_live_frames_total{outcome="dropped"}') == 38
        assert figure(server, 'overpaint_live_frames_total{outcome="repainted"}') == 3
        assert figure(server, "overpaint_live_sessions") == 1
    assert knobs.count("unet") == 3 * 2


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"no picture", "not_an_image"),
        (b"", "not_an_image"),
        (png()[:200], "invalid_image"),
        (png(4200, 4000, kind="JPEG")[:2000], "image_too_large"),
    ],
)
def test_what_is_no_frame_costs_one_line_and_no_session(
    server: Running, frame: bytes, code: str
) -> None:
    with live(server) as client:
        client.begin(format="png")
        client.socket.send(frame)
        line = client.hear()
        assert (line["type"], line["code"], line["frame"]) == ("error", code, 1)
        assert line["id"]
        client.repaint(png())


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("{", "invalid_body", "not JSON"),
        ('{"prompt": NaN}', "invalid_body", "not JSON"),
        ("[" * 5000, "invalid_body", "not JSON"),
        ("[]", "invalid_request", ""),
        ('{"strength": 2}', "invalid_request", "strength"),
        ('{"steps": 9}', "invalid_request", "steps"),
        ('{"prompt": "' + "x" * 10_001 + '"}', "invalid_request", "prompt"),
    ],
)
def test_what_is_no_change_costs_one_line_and_no_session(
    server: Running, text: str, code: str, said: str
) -> None:
    with live(server) as client:
        client.begin()
        client.socket.send(text)
        line = client.hear()
        assert (line["type"], line["code"]) == ("error", code)
        assert said in line["message"]
        client.repaint(png())


def test_a_first_message_that_cannot_be_is_told_and_the_next_one_may(server: Running) -> None:
    with live(server) as client:
        client.socket.send(png())
        assert "JSON first" in client.line()["message"]
        for asked, said in (
            ({"steps": 17}, "steps"),
            ({"n": 2}, "n: there is no such field"),
            ({"size": "63x64"}, "size"),
            ({"size": "99999x99999"}, "size"),
            ({"sampler": "magic"}, "sampler"),
            ({"model": "other"}, "no such model"),
            ({"format": "gif"}, "format"),
        ):
            line = client.begin(**asked)
            assert line["type"] == "error", asked
            assert said in line["message"]
        assert client.begin()["type"] == "ready"
        client.repaint(png())


def test_a_frame_that_is_too_large_closes_and_events_stay_small(folder: Path) -> None:
    config = Config(port=0, limits=Limits(frame_bytes=50_000))
    knobs = Knobs()
    with serving(config, [fake_served(folder, knobs=knobs)]) as server:
        with live(server) as client:
            client.begin()
            client.repaint(png())
            client.socket.send(b"x" * 50_001)
            assert client.closed() == 1009
        until(lambda: server.state.live == 0)
        knobs.gate.clear()  # the job is still there when its watcher says too much
        job = server.submit(size="64x64", steps=1)["id"]
        url = f"{server.url.replace('http', 'ws')}/v1/jobs/{job}/events"
        with connect(url, proxy=None) as events:
            events.send(b"x" * 5000)
            with pytest.raises(ConnectionClosed):
                Client(events).hear_all()
            assert events.close_code == 1009
        knobs.gate.set()


def test_sessions_beyond_the_number_are_refused_and_a_seat_becomes_free(folder: Path) -> None:
    with serving(Config(port=0, live_sessions=1), [fake_served(folder)]) as server:
        assert server.client.get("/v1/capabilities").json()["limits"]["live_sessions"] == 1
        with live(server) as first:
            first.begin()
            with live(server) as second:
                assert second.closed() == 4429
                (line,) = second.errors
                assert line["code"] == "full"
                assert "no more than 1" in line["message"]
            first.repaint(png())
        until(lambda: server.state.live == 0)
        with live(server) as third:
            third.begin()
            third.repaint(png())
        until(lambda: figure(server, "overpaint_live_sessions") == 0)


def test_none_may_be_admitted_at_all(folder: Path) -> None:
    with (
        serving(Config(port=0, live_sessions=0), [fake_served(folder)]) as server,
        live(server) as client,
    ):
        assert client.closed() == 4429
    with pytest.raises(UsageError, match="--live-sessions"):
        Config(live_sessions=-1)


def test_who_sends_nothing_leaves_but_may_wait_for_a_picture(folder: Path) -> None:
    config = Config(port=0, limits=Limits(live_idle_seconds=0.5))
    knobs = Knobs(step_seconds=0.7)
    served = [fake_served(folder, knobs=knobs)]
    with serving(config, served) as server, live(server) as client:
        client.begin()
        client.repaint(png())
        assert client.closed() == 4408
        assert client.errors[-1]["code"] == "idle"
        until(lambda: server.state.live == 0)


def test_a_tab_that_is_closed_ends_its_session_while_a_frame_is_under_way(folder: Path) -> None:
    knobs = Knobs()
    with serving(Config(port=0), [fake_served(folder, knobs=knobs)]) as server:
        with live(server) as client:
            client.begin()
            knobs.gate.clear()
            client.socket.send(png(seed=1))
            until(lambda: knobs.count("unet") == 1)
            client.socket.send(png(seed=2))
        until(lambda: server.state.live == 0)
        knobs.gate.set()
        job = server.submit(size="64x64", steps=1)["id"]
        assert server.ended(job)["status"] == "completed"
        assert knobs.count("unet") == 2 + 1  # the frame's two steps and the job's one


def test_jobs_and_frames_take_turns(folder: Path) -> None:
    """Three jobs wait, and frames come without a pause: between two jobs there is one frame."""
    knobs = Knobs(step_seconds=0.05)
    with serving(Config(port=0), [fake_served(folder, knobs=knobs)]) as server, live(server) as one:
        one.begin(steps=1)
        one.repaint(png())
        jobs = [server.submit(size="64x64", steps=6)["id"] for _ in range(3)]
        frames: list[float] = []
        while len(frames) < 40 and server.job(jobs[-1])["status"] != "completed":
            one.repaint(png(seed=len(frames)))
            frames.append(time.time())
        done = [server.ended(job) for job in jobs]
        assert [job["status"] for job in done] == ["completed"] * 3
        for before, after in pairwise(done):
            between = [at for at in frames if before["started_at"] < at < after["finished_at"]]
            assert between  # live goes on between the jobs,
        assert len(frames) < 40  # and the jobs do between the frames
        one.repaint(png())


def test_two_sessions_share_the_engine(server: Running) -> None:
    with live(server) as one, live(server) as other:
        one.begin(format="png")
        other.begin(format="png", prompt="blue", seed=6)
        alone = one.repaint(png()), other.repaint(png())
        for _ in range(3):
            one.socket.send(png())
            other.socket.send(png())
            for client in (one, other):
                client.hear()
        assert {file for _, file in one.pictures} == {alone[0]}
        assert {file for _, file in other.pictures} == {alone[1]}


def test_an_engine_that_fails_costs_a_frame_and_one_that_was_closed_is_opened(
    folder: Path,
) -> None:
    knobs = Knobs()
    served = [fake_served(folder, "a", knobs, megabytes=60), fake_served(folder, "b", megabytes=60)]
    config = Config(port=0, memory_budget=100_000_000)
    with serving(config, served) as server, live(server) as client:
        client.begin(format="png")
        first = client.repaint(png())
        knobs.failures.append(RuntimeError("boom"))
        client.socket.send(png())
        line = client.hear()
        assert (line["code"], line["frame"]) == ("engine_failed", 2)
        assert "boom" not in line["message"]
        assert client.repaint(png()) == first
        server.ended(server.submit(model="b", size="64x64", steps=1)["id"])
        assert knobs.open_now == 0
        assert client.repaint(png()) == first
        assert knobs.opened == 2


def test_a_server_without_engines_says_that_it_has_no_live(folder: Path) -> None:
    with serving(Config(port=0), [fake_served(folder)]) as behind:
        front = Config(port=0, provider=behind.url)
        with serving(front, []) as server, live(server) as client:
            assert server.client.get("/v1/capabilities").json()["limits"]["live_sessions"] == 0
            client.say(**ASKED)
            assert client.closed() == 4503
            assert "nothing live" in client.errors[-1]["message"]


def test_only_those_who_may_call_draw(folder: Path) -> None:
    token = "0123456789abcdef-secret"
    with serving(Config(port=0, token=token), [fake_served(folder)]) as server:
        for options in ({}, {"origin": "https://evil.example"}):
            with pytest.raises(InvalidStatus), live(server, **options):
                pass
        with live(server, additional_headers={"Authorization": f"Bearer {token}"}) as client:
            assert client.begin()["type"] == "ready"


def test_a_shutdown_ends_live_sessions_and_says_so(folder: Path) -> None:
    with started(folder, step_seconds=0.01) as server, live(server) as client:
        client.begin()
        client.repaint(png())
        server.process.send_signal(signal.SIGTERM)
        assert client.closed() == 1001
        assert client.errors[-1]["code"] == "draining"
        assert server.process.wait(20) == 0


def test_a_shutdown_lets_jobs_finish_and_draws_no_more(folder: Path) -> None:
    with started(folder, step_seconds=0.02) as server:
        job = server.submit(steps=100)
        wait_until(lambda: server.status(job) == "running")
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: server.state() == "draining")
        with live(server) as client:
            assert client.closed() == 1001
        assert server.view(job)["status"] == "completed"
