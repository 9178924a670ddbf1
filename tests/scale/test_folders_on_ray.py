"""Whatever dies while a folder is painted on a cluster, its pictures are those of one process: none
lost, none half, none painted by another hand. Each test begins a real cluster of two nodes, and
kills some of its processes."""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from overpaint.runtime.default_bundle import EMBEDDED

pytestmark = pytest.mark.ray

PICTURES = 24
WORDS = ("--steps", "2", "--strength", "1", "--size", "128x128", "--seed", "7")


class Two:
    """A head that runs nothing, and two nodes of one worker each."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        memory = 80 * 1024 * 1024
        head = {"num_cpus": 0, "object_store_memory": memory, "include_dashboard": False}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes = [
            self.cluster.add_node(num_cpus=1, object_store_memory=memory) for _ in range(2)
        ]

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def workers(self) -> list[psutil.Process]:
        """The processes that hold engines."""
        ours = {node.all_processes["raylet"][0].process.pid for node in self.nodes}
        found = []
        for process in psutil.process_iter(["pid", "ppid", "cmdline"]):
            words = " ".join(process.info["cmdline"] or ())
            if process.info["ppid"] in ours and "MapWorker" in words:
                found.append(process)
        return found

    def kill_node(self) -> None:
        self.cluster.remove_node(self.nodes.pop(), allow_graceful=False)


@pytest.fixture
def two() -> Iterator[Two]:
    import ray

    cluster = Two()
    yield cluster
    ray.shutdown()  # this process may have joined it
    cluster.cluster.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`in`, a folder of small pictures and one that is none; `whole`, painted by one process."""
    root = tmp_path_factory.mktemp("folders")
    (root / "in").mkdir()
    for i in range(PICTURES):
        grain = np.random.default_rng(i).integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(grain).resize((128, 128)).save(root / f"in/{i:02}.png")
    (root / "in/bad.jpg").write_text("no picture")
    driver(root, "whole").wait()
    return root


def driver(
    root: Path, output: str, *more: str, words: tuple[str, ...] = ("in", "winter")
) -> subprocess.Popen[str]:
    overpaint = str(Path(sys.executable).with_name("overpaint"))
    command = [overpaint, "run", *words, *WORDS, "-o", output, *more]
    return subprocess.Popen(
        command, cwd=root, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Every file there, hidden ones too, but the report."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".jsonl"}


def report(folder: Path) -> dict[str, str]:
    lines = (folder / "report.jsonl").read_text("utf-8").splitlines()
    told = [json.loads(line) for line in lines]
    assert len({one["image"] for one in told}) == len(told)
    return {Path(one["image"]).name: one["status"] for one in told}


def painted(folder: Path) -> int:
    return len(list(folder.glob("*.png"))) if folder.exists() else 0


def when(folder: Path, pictures: int, act: Callable[[], object]) -> threading.Thread:
    """Do `act` as soon as so many pictures are there."""

    def wait() -> None:
        end = time.monotonic() + 120
        while painted(folder) < pictures and time.monotonic() < end:
            time.sleep(0.02)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def finished(process: subprocess.Popen[str], code: int = 1) -> None:
    """Wait for the driver: 1, since one picture is none."""
    out, err = process.communicate(timeout=240)
    assert process.returncode == code, (out[-2000:], err[-2000:])


def check(root: Path, output: str) -> None:
    assert contents(root / output) == contents(root / "whole")
    told = report(root / output)
    assert told.pop("bad.jpg") == "failed"
    assert len(told) == PICTURES
    assert set(told.values()) <= {"painted", "there"}


def test_killed_workers_change_nothing(two: Two, folder: Path) -> None:
    """Each of the two, in the middle of its picture."""
    process = driver(folder, "workers", "--ray", two.address)

    def kill() -> None:
        for worker in two.workers():
            worker.kill()

    killing = when(folder / "workers", 3, kill)
    again = when(folder / "workers", 12, kill)
    finished(process)
    killing.join()
    again.join()
    check(folder, "workers")


def test_a_killed_node_changes_nothing(two: Two, folder: Path) -> None:
    process = driver(folder, "node", "--ray", two.address)
    killing = when(folder / "node", 4, two.kill_node)
    finished(process)
    killing.join()
    check(folder, "node")


def test_a_killed_driver_goes_on_where_it_was(two: Two, folder: Path) -> None:
    process = driver(folder, "driver", "--ray", two.address)
    when(folder / "driver", 5, process.kill).join()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    left = painted(folder / "driver")
    assert left < PICTURES
    finished(driver(folder, "driver", "--ray", two.address, "--skip-existing"))
    check(folder, "driver")
    assert list(report(folder / "driver").values()).count("there") >= left


def test_a_worker_that_stands_still_is_replaced(two: Two, tmp_path: Path) -> None:
    """Once over the third item, every time over the fifth, which is given up."""
    from overpaint.scale.cluster import connect
    from overpaint.scale.each import each
    from overpaint.scale.workers import workers_of

    connect(two.address)
    workers = workers_of(2, gpu=False, patience=2.0)

    def make() -> Callable[[int], int]:
        def waits(item: int) -> int:
            once = tmp_path / f"{item}"
            if item == 5 or (item == 3 and not once.exists()):
                once.touch()
                time.sleep(1000)
            return item * item

        return waits

    came = dict(each(make, range(12), workers))
    assert came == {i: None if i == 5 else i * i for i in range(12)}


def test_rows_masks_loras_and_controls_are_those_of_one_process(two: Two, folder: Path) -> None:
    (folder / "rows.csv").write_text(
        "image,prompt,strength\nin/00.png,winter <lora:ink:0.7>,0.9\nin/01.png,a storm,\n"
    )
    Image.new("L", (128, 128), 90).save(folder / "mask.png")
    words = ("--prompts", "rows.csv", "--mask", "mask.png", "--prompt-weights")
    words += ("--control", "edges", "--control-from", "canny")
    finished(driver(folder, "rows", words=words), code=0)
    finished(driver(folder, "rows-on-ray", "--ray", two.address, words=words), code=0)
    assert contents(folder / "rows") == contents(folder / "rows-on-ray")
    assert len(contents(folder / "rows")) == 3


def test_a_bundle_behind_a_url_is_fetched_once_for_all_workers_of_a_machine(
    two: Two, folder: Path
) -> None:
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *_: object) -> None:
            pass

    shutil.copytree(EMBEDDED, folder / "served" / os.urandom(4).hex())
    [name] = os.listdir(folder / "served")
    handler = functools.partial(Handler, directory=str(folder / "served"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/{name}"
    finished(driver(folder, "http", "--ray", two.address, "--bundle", url))
    server.shutdown()
    check(folder, "http")
    assert sum(path.endswith("unet/model.onnx") for path in asked) == 1


def test_a_full_object_store_changes_nothing(two: Two, folder: Path) -> None:
    """Somebody else fills the memory that the nodes share; pictures do not go through it."""
    fill = (
        "import ray, numpy as np, sys, time\n"
        "ray.init(sys.argv[1], log_to_driver=False)\n"
        "@ray.remote(num_cpus=0)\n"
        "def part():\n"
        "    return np.zeros(10_000_000, np.uint8)\n"
        "kept = [part.options(scheduling_strategy='SPREAD').remote() for _ in range(30)]\n"
        "ray.wait(kept, num_returns=len(kept), timeout=60)\n"
        "print('full', flush=True)\n"
        "time.sleep(600)\n"
    )
    filling = subprocess.Popen(
        [sys.executable, "-c", fill, two.address], stdout=subprocess.PIPE, text=True
    )
    try:
        assert filling.stdout is not None
        assert filling.stdout.readline() == "full\n"
        finished(driver(folder, "full", "--ray", two.address))
    finally:
        filling.kill()
        filling.communicate()
    check(folder, "full")
