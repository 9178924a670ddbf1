"""SIGKILL to a real server: the next one goes on with what it had accepted, or says why not."""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.serve.engine import Knobs, fake_served
from tests.serve.masks import as_png, white
from tests.serve.process import free_port, is_ready, spawn, started, wait_until
from tests.serve.running import data_url, png, serving
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from overpaint.serve.config import Config


def pixels(server: Any, view: dict[str, Any]) -> bytes:
    """The finished picture, without what it says of itself."""
    (media,) = view["result"]["media"]
    answer = server.client.get(f"/v1/media/{media}.png")
    assert answer.status_code == 200
    return bytes(answer.content)


def fill_disk(process: subprocess.Popen[bytes]) -> None:
    """No file may grow beyond 100 bytes, as on a disk that is full."""
    _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (100, hard))


def events(url: str, job: str, after: int = 0) -> list[dict[str, Any]]:
    address = f"{url.replace('http', 'ws')}/v1/jobs/{job}/events?after={after}"
    told: list[dict[str, Any]] = []
    with connect(address, proxy=None) as socket, contextlib.suppress(ConnectionClosedError):
        for message in socket:
            told.append(json.loads(message))
    return told


def test_what_waited_and_what_ran_is_run_again_under_its_id(folder: Path) -> None:
    image = data_url(png(96, 64))
    with started(folder, step_seconds=0.1) as server:
        done = server.submit(steps=1)
        before = server.view(done)
        wide: dict[str, Any] = {"image": image, "size": None, "extend": [0, 0, 32, 0], "seed": 5}
        wide["mask"] = data_url(as_png(white((0, 0, 16, 16), (96, 64))))
        jobs = [server.submit(steps=6, **wide), server.submit(steps=2)]
        jobs += [server.submit(steps=2), server.submit(steps=2, prompt="blue")]
        wait_until(lambda: server.status(jobs[0]) == "running")
        server.client.delete(f"/v1/jobs/{jobs[2]}")
        server.kill()
    with started(folder, step_seconds=0.02) as server:
        views = [server.view(job) for job in jobs]
        assert [view["status"] for view in views] == ["completed"] * 2 + ["cancelled", "completed"]
        assert [view["restarts"] for view in views] == [1, 1, 0, 1]
        settings = views[0]["result"]["settings"]
        assert settings["extend"] == [0, 0, 32, 0]
        assert settings["mask_sha256"] is not None
        assert views[3]["result"]["settings"]["prompt"] == "blue"
        same = server.view(server.submit(steps=6, **wide))
        assert pixels(server, views[0]) == pixels(server, same)
        assert server.view(done) == before
        assert not list((folder / "results" / "accepted").iterdir())
    with started(folder) as server:  # nothing is run twice
        assert [server.view(job) for job in jobs] == views


def test_a_job_goes_on_under_the_eyes_of_who_watches_it(folder: Path) -> None:
    with started(folder, step_seconds=0.05) as server:
        job = server.submit(steps=50)
        address = f"{server.url.replace('http', 'ws')}/v1/jobs/{job}/events"
        with connect(address, proxy=None) as socket:
            while (seen := json.loads(socket.recv())).get("index", 0) < 20:
                pass
            server.kill()
    with started(folder, step_seconds=0.02) as server:
        told = events(server.url, job, after=seen["seq"])
        assert told[-1]["type"] == "complete"
        assert any(event["type"] == "step" and event["total"] == 50 for event in told)


def test_a_job_that_is_to_be_run_again_can_be_cancelled(folder: Path) -> None:
    with started(folder, step_seconds=0.1) as server:
        jobs = [server.submit(steps=100) for _ in range(3)]
        wait_until(lambda: server.status(jobs[0]) == "running")
        server.kill()
    with started(folder, step_seconds=0.1) as server:
        for job in reversed(jobs):
            assert server.client.delete(f"/v1/jobs/{job}").json()["status"] == "cancelled"
    with started(folder) as server:
        assert {server.status(job) for job in jobs} == {"cancelled"}


def test_a_job_that_kills_the_server_gets_one_more_attempt_and_those_behind_it_all(
    folder: Path,
) -> None:
    with started(folder, deadly_step=3) as server:
        killer, behind = server.submit(steps=5), server.submit(steps=1)
        server.process.wait(30)
    again = spawn(free_port(), folder, deadly_step=1)
    again.wait(60)
    with started(folder) as server:
        answer = server.client.get(f"/v1/jobs/{killer}")
        assert answer.status_code == 410
        assert answer.json()["error"]["code"] == "restarted"
        assert "went down 2 times while it ran" in answer.json()["error"]["message"]
        assert server.client.delete(f"/v1/jobs/{killer}").status_code == 410
        (told,) = events(server.url, killer)
        assert (told["type"], told["code"]) == ("error", "restarted")
        assert (view := server.view(behind))["status"] == "completed"
        assert view["restarts"] == 2
        listed = {one["id"]: one["status"] for one in server.client.get("/v1/jobs").json()}
        assert listed == {killer: "failed", behind: "completed"}
    with started(folder) as server:
        assert server.client.get(f"/v1/jobs/{killer}").status_code == 410


def test_a_full_disk_gives_no_job_more_attempts(folder: Path) -> None:
    """That an engine begins is noted, though nothing can be written."""
    statuses = []
    with started(folder, step_seconds=1) as server:
        blocker, job = server.submit(steps=100), server.submit(steps=5)
        wait_until(lambda: server.status(blocker) == "running")
        fill_disk(server.process)
        server.client.delete(f"/v1/jobs/{blocker}")
        wait_until(lambda: server.status(job) == "running")
        server.kill()
    for _ in range(3):
        with started(folder, step_seconds=1) as server:
            fill_disk(server.process)
            answer = server.client.get(f"/v1/jobs/{job}")
            statuses.append(answer.status_code)
            if answer.status_code == 200:
                wait_until(lambda: server.status(job) == "running")
            server.kill()
    assert statuses == [200, 410, 410]


@pytest.mark.parametrize("change", ["another bundle", "no such model", "unreadable", "old"])
def test_what_cannot_be_run_again_is_gone_and_says_why(folder: Path, change: str) -> None:
    with started(folder, step_seconds=1) as server:
        job = server.submit(steps=100)
        server.kill()
    (path,) = (folder / "results" / "accepted").glob(f"{job}.*")
    if change == "unreadable":
        path.write_bytes(path.read_bytes()[:40])
    if change == "old":
        record = json.loads(path.read_bytes())
        record["created_at"] -= 100_000
        path.write_text(json.dumps(record) + "\n")
    name = "renamed" if change == "no such model" else "fake"
    megabytes = 2 if change == "another bundle" else 1
    served = fake_served(folder / "new", name, megabytes=megabytes)
    reasons = {
        "another bundle": "fake is another bundle now",
        "no such model": "fake is not served any more: there is no such model; there is: renamed",
        "unreadable": "what was kept of it cannot be read",
        "old": "it was accepted more than a day ago",
    }
    with serving(Config(port=0, folder=folder / "results"), [served]) as second:
        while (answer := second.client.get(f"/v1/jobs/{job}")).status_code == 200:
            time.sleep(0.01)
        assert answer.status_code == 410
        assert answer.json()["error"]["message"].endswith(
            f"did not run it again: {reasons[change]}"
        )


def test_a_result_that_only_memory_held_is_painted_again(folder: Path) -> None:
    """The disk was full when the job ended: its picture went with the process."""
    with started(folder, step_seconds=0.3) as server:
        job = server.submit(steps=3)
        fill_disk(server.process)
        first = server.view(job)
        picture = pixels(server, first)
        server.kill()
    with started(folder) as server:
        second = server.view(job)
        assert second["status"] == "completed"
        assert pixels(server, second) == picture  # the seed was drawn once


def test_a_front_door_follows_its_jobs_where_they_are(folder: Path) -> None:
    knobs = Knobs(step_seconds=0.05)
    with serving(Config(port=0), [fake_served(folder / "behind", knobs=knobs)]) as behind:
        with started(folder, provider=behind.url) as door:
            jobs = [door.submit(steps=40), door.submit(steps=2)]
            wait_until(lambda: door.status(jobs[0]) == "running")
            door.kill()
        with started(folder, provider=behind.url) as door:
            assert [door.view(job)["status"] for job in jobs] == ["completed"] * 2
        assert len(behind.client.get("/v1/jobs").json()) == 2  # none was handed in again


def test_the_next_server_has_the_folder_at_once(folder: Path) -> None:
    """A lock that outlived its owner would keep results in memory."""
    with started(folder) as server:
        server.client.post("/v1/uploads", files={"file": png()})  # a reader of pictures, too
        server.kill()
    with started(folder) as server:
        job = server.view(server.submit(steps=1))
        assert (folder / "results" / "media" / f"{job['result']['media'][0]}.png").exists()


def test_what_clients_wait_for_on_their_connection_ends_with_it(folder: Path) -> None:
    port = free_port()
    first = spawn(port, folder, step_seconds=0.2)
    url = f"http://127.0.0.1:{port}"
    body = {"prompt": "red", "width": 64, "height": 64, "steps": 100}
    with httpx.Client(base_url=url, timeout=20) as client:
        wait_until(lambda: is_ready(client))
        with pytest.raises(httpx.TransportError), httpx.Client(base_url=url) as waiting:
            waiting.post("/sdapi/v1/txt2img", json=body, timeout=1.0)
    first.kill()
    first.wait()
    with started(folder) as server:
        assert server.client.get("/v1/jobs").json() == []
