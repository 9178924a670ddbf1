"""Falling back to a server that is not ours, over OpenAI's image edits: our own face of that API,
and one that misbehaves."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.serve.engine import Knobs, fake_served
from tests.serve.running import Running, data_url, png, serving

from overpaint.bundle.errors import SessionError, UsageError
from overpaint.serve.config import Config

TOKEN = "token-of-the-other-server"
PICTURE = base64.b64encode(png(16, 16)).decode()
GOOD = {"data": [{"b64_json": PICTURE}]}

Answer = Callable[["Foreign", dict[str, bytes]], tuple[int, dict[str, str], bytes] | None]


@dataclass
class Foreign:
    """A server of OpenAI's API whose every answer is written out. `asked`: the forms that came."""

    url: str
    answers: list[Answer]
    asked: list[dict[str, bytes]] = field(default_factory=list)
    leaving: threading.Event = field(default_factory=threading.Event)


@contextmanager
def foreign(*answers: Answer) -> Iterator[Foreign]:
    """Its edits are answered by `answers` in turn, the last one again and again."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._say(200, {}, json.dumps({"data": [{"id": "crayon-1"}]}).encode())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kind = self.headers["Content-Type"].encode()
            parts = message_from_bytes(b"Content-Type: " + kind + b"\r\n\r\n" + body).get_payload()
            form = {
                str(part.get_param("name", header="content-disposition")): part.get_payload(
                    decode=True
                )
                for part in parts
            }
            server.asked.append(form)
            answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
            if (told := answer(server, form)) is not None:
                self._say(*told)

        def _say(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = Foreign(f"openai+http://127.0.0.1:{http.server_port}", [*answers])
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.leaving.set()
        http.shutdown()
        http.server_close()


def says(status: int, body: Any, **headers: str) -> Answer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda *_: (status, named, data)


def does_not_know(*names: str) -> Answer:
    """As OpenAI's own server does, it refuses what it does not know, a field at a time."""

    def answer(server: Foreign, form: dict[str, bytes]) -> tuple[int, dict[str, str], bytes]:
        for name in names:
            if name in form:
                error = {"message": f"Unknown parameter: '{name}'.", "param": name}
                body = {"error": {**error, "code": "unknown_parameter"}}
                return 400, {}, json.dumps(body).encode()
        return 200, {}, json.dumps(GOOD).encode()

    return answer


def hangs(server: Foreign, _: Any) -> None:
    server.leaving.wait(30)


@contextmanager
def falling_back(folder: Path, url: str, **options: Any) -> Iterator[Running]:
    """A server whose own engine fails at once."""
    broken = Knobs(failures=[SessionError("no more memory")] * 99)
    config = Config(port=0, fallbacks=(url,), fallback_token=TOKEN, **options)
    with serving(config, [fake_served(folder, knobs=broken)]) as server:
        yield server


def left_half() -> bytes:
    """A mask for the left half of a picture of 32x32."""
    white = Image.new("L", (32, 32))
    white.paste(255, (0, 0, 16, 32))
    file = io.BytesIO()
    white.save(file, "PNG")
    return file.getvalue()


def asked(**more: Any) -> dict[str, Any]:
    return {"image": data_url(png(32, 32)), "prompt": "green", "steps": 4, "styles": {}, **more}


def warnings_of(job: dict[str, Any]) -> str:
    return "\n".join(job["result"]["warnings"])


def test_our_own_face_of_the_api_paints_what_our_own_api_does(folder: Path) -> None:
    there = serving(Config(port=0, token=TOKEN), [fake_served(folder / "there")])
    settings = {"strength": 0.75, "guidance_scale": 3.0, "seed": 11, "sampler": "ddim", "n": 2}
    with there as other, falling_back(folder / "here", f"openai+{other.url}") as server:
        mask = data_url(left_half())
        wanted = other.ended(other.submit(**asked(mask=mask, **settings))["id"])
        job = server.ended(server.submit(**asked(mask=mask, **settings))["id"])
        assert (job["status"], job["provider"]) == ("completed", f"openai+{other.url}/v1")
        assert job["tried"][0]["provider"] == "local"
        assert job["result"]["seeds"] == [11, 12]
        for mine, theirs in zip(job["result"]["media"], wanted["result"]["media"], strict=True):
            assert np.array_equal(server.pixels(mine), other.pixels(theirs))
        assert "does not say what it ran" in warnings_of(job)
        assert "may have changed what the mask keeps" in warnings_of(job)
        assert "was not told" not in warnings_of(job)


def test_its_models_are_listed_and_it_is_ready(folder: Path) -> None:
    with foreign(says(200, GOOD)) as other, falling_back(folder, other.url) as server:
        models = server.client.get("/v1/capabilities").json()["models"]
        assert [one["name"] for one in models] == ["fake", "crayon-1"]
        states = server.client.get("/readyz").json()
        assert other.url in json.dumps(states)


def test_what_it_does_not_know_is_left_out_and_said(folder: Path) -> None:
    unknown = ("response_format", "strength", "num_inference_steps", "scheduler")
    with foreign(does_not_know(*unknown)) as other, falling_back(folder, other.url) as server:
        body = asked(strength=0.5, sampler="euler", mask_blur=2.0, mask=data_url(png(32, 32)))
        job = server.ended(server.submit(**body)["id"])
        assert job["status"] == "completed"
        said = warnings_of(job)
        assert "painted by crayon-1, not by fake" in said
        assert "was not told, or does not know: strength, steps, sampler, mask_blur" in said
        tries = len(other.asked)
        server.ended(server.submit(**body)["id"])
        assert len(other.asked) == tries + 1, "it is asked once what it does not know"


def test_the_model_can_be_named_in_the_url(folder: Path) -> None:
    with foreign(says(200, GOOD)) as other:
        url = f"{other.url}?model=gpt-image-1"
        with falling_back(folder, url) as server:
            server.ended(server.submit(**asked())["id"])
        assert other.asked[-1]["model"] == b"gpt-image-1"


def test_a_mask_is_transparent_where_it_is_repainted(folder: Path) -> None:
    with foreign(says(200, GOOD)) as other, falling_back(folder, other.url) as server:
        server.ended(server.submit(**asked(mask=data_url(left_half())))["id"])
        alpha = np.asarray(Image.open(io.BytesIO(other.asked[-1]["mask"])))[..., 3]
        assert (alpha[:, :16] == 0).all()
        assert (alpha[:, 16:] == 255).all()


def test_a_mode_is_sent_as_the_numbers_that_it_stands_for(folder: Path) -> None:
    with foreign(says(200, GOOD)) as other, falling_back(folder, other.url) as server:
        body = asked(mode="copy")
        del body["steps"]
        server.ended(server.submit(**body)["id"])
        assert float(other.asked[-1]["strength"]) == 0.05
        assert int(other.asked[-1]["num_inference_steps"]) == 15


def test_a_busy_server_is_asked_again_for_it_began_nothing(folder: Path) -> None:
    busy = says(429, {"error": {"message": "slow down"}}, Retry_After="0")
    with foreign(busy, busy, says(200, GOOD)) as other, falling_back(folder, other.url) as server:
        assert server.ended(server.submit(**asked())["id"])["status"] == "completed"
        assert len(other.asked) == 3


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (says(500, {"error": {"message": "out of paint"}}), "it answered 500: out of paint"),
        (says(302, b"", Location="http://10.0.0.1/"), "it answered 302"),
        (says(200, b"<html>no</html>"), "an answer without pictures"),
        (says(200, b"[" * 100_000), "an answer without pictures"),
        (says(200, {"data": [{"url": "http://10.0.0.1/x.png"}]}), "without the picture itself"),
        (says(200, {"data": [{"b64_json": "no base64"}]}), "an answer whose picture is none"),
        (says(200, {"data": [{"b64_json": "aGVsbG8="}]}), "an answer whose picture is none"),
        (says(200, b"{", Content_Length="100"), "was lost on the way"),
        (says(429, {"error": {"message": "tomorrow"}}, Retry_After="9999"), "429: tomorrow"),
        (says(400, {"error": {"message": "no", "code": "unknown_parameter", "param": "prompt"}}),
         "it answered 400: no"),
        (hangs, "took longer than 2 seconds"),
    ],
)  # fmt: skip
def test_whatever_it_answers_the_job_ends_in_one_clear_line(
    answer: Answer, said: str, folder: Path
) -> None:
    with foreign(answer) as other:
        with falling_back(folder, other.url, job_seconds=2 if answer is hangs else 20) as server:
            job = server.ended(server.submit(**asked())["id"])
        assert job["status"] == "failed"
        assert said in job["error"]["message"]
        assert len(other.asked) == 1, "what may have begun is never sent twice"


def test_a_picture_too_large_to_be_one_is_not_decoded(folder: Path) -> None:
    file = io.BytesIO()
    Image.new("1", (40_000, 40_000)).save(file, "PNG")
    bomb = {"data": [{"b64_json": base64.b64encode(file.getvalue()).decode()}]}
    with foreign(says(200, bomb)) as other, falling_back(folder, other.url) as server:
        job = server.ended(server.submit(**asked())["id"])
        assert "picture" in job["error"]["message"]


def test_a_cancelled_job_closes_the_connection(folder: Path) -> None:
    with foreign(hangs) as other, falling_back(folder, other.url) as server:
        job = server.submit(**asked())["id"]
        deadline = time.monotonic() + 10
        while not other.asked:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        server.client.delete(f"/v1/jobs/{job}")
        assert server.ended(job)["status"] == "cancelled"


def test_nothing_there_is_said_as_unreachable(folder: Path) -> None:
    with falling_back(folder, "openai+http://127.0.0.1:9") as server:
        job = server.ended(server.submit(**asked())["id"])
        assert job["status"] == "failed"
        assert "does not list its models" in json.dumps(job["tried"])


def test_text_alone_is_not_sent(folder: Path) -> None:
    with foreign(says(200, GOOD)) as other, falling_back(folder, other.url) as server:
        job = server.ended(server.submit(prompt="green", size="64x64")["id"])
        assert "take a picture and words" in json.dumps(job["tried"])
        assert other.asked == []


@pytest.mark.parametrize("url", ["openai+https://", "openai+http://h?key=1", "openai+http://h#a"])
def test_a_url_that_is_none_is_refused(url: str, folder: Path) -> None:
    with pytest.raises(UsageError, match="expected openai"), falling_back(folder, url):
        pass
