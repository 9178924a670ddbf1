"""Does killing any one process of a cluster change what `overpaint run --ray` leaves in OUT?

500 pictures painted by the embedded model, and 10,000 by an engine that answers at once, on a Ray
cluster of two nodes; while they are painted a worker, a node or the driver is killed, at moments
drawn by a seed. A driver that was killed is begun again with --skip-existing, a node is replaced.
Every file in OUT is then compared, byte by byte, with what one process painted.

    python bench/studies/kill_anything.py --write bench/results/kill-anything-2-cores.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

STEPS, SIDE, SEED = 2, 128, 7
MEMORY = 100 * 1024 * 1024
KINDS = ("worker", "node", "driver")


class Killable:
    """A head that runs nothing, and two nodes of one processor each."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "object_store_memory": MEMORY, "include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self._nodes = [self._add(), self._add()]
        self.address = str(self._cluster.address)

    def kill_worker(self, chance: random.Random) -> bool:
        """One that holds engines; False where none does just now."""
        raylets = {node.all_processes["raylet"][0].process.pid for node in self._nodes}
        workers = [
            one
            for one in psutil.process_iter(["pid", "ppid", "cmdline"])
            if one.info["ppid"] in raylets and "MapWorker" in " ".join(one.info["cmdline"] or ())
        ]
        if workers:
            chance.choice(workers).kill()
        return bool(workers)

    def kill_node(self, chance: random.Random) -> bool:
        """With everything that runs on it; another takes its place."""
        node = self._nodes.pop(chance.randrange(len(self._nodes)))
        self._cluster.remove_node(node, allow_graceful=False)
        self._nodes.append(self._add())
        return True

    def close(self) -> None:
        self._cluster.shutdown()

    def _add(self) -> Any:
        return self._cluster.add_node(num_cpus=1, object_store_memory=MEMORY)


def make_pictures(folder: Path, count: int, side: int) -> None:
    folder.mkdir()
    for i in range(count):
        grain = np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(grain).resize((side, side)).save(folder / f"{i:05}.png", compress_level=1)


def instant(arguments: list[str]) -> None:
    """`overpaint run` with engines that answer at once, in each worker too: the picture, inverted,
    with a pause that makes a run of 10,000 long enough to be killed."""
    from overpaint.cli import on_ray, paint, painter
    from overpaint.cli.main import main

    class Instant(painter.Painter):
        def __init__(self, options: Any, given: Any) -> None:
            self._options, self._given = options, given

        def engines(self) -> dict[str, Any]:
            return {"model": "instant"}

        def __call__(self, order: painter.Order) -> painter.Painted:
            import contextlib
            import io
            import time

            from PIL import Image, ImageOps

            from overpaint.cli.claim import put

            [path], image = order.task.outputs, order.task.image
            assert image is not None
            if path.exists():
                return painter.Painted(there=True)
            time.sleep(0.002)
            encoded = io.BytesIO()
            with Image.open(image) as opened:
                ImageOps.invert(opened.convert("RGB")).save(encoded, "PNG", compress_level=1)
            with contextlib.suppress(FileExistsError):
                put(encoded.getvalue(), path, replace=False)
            return painter.Painted(written=(path,))

        def close(self) -> None:
            pass

    class Opening(on_ray.Opening):
        def __call__(self) -> painter.Painter:
            os.chdir(self.folder)
            return Instant(self.options, self.given)

    on_ray.Opening = Opening  # type: ignore[misc]
    paint.Painter = Instant  # type: ignore[attr-defined]
    sys.argv = ["overpaint", "run", *arguments]
    main()


def command(kind: str, output: Path, *more: str) -> list[str]:
    words = ["in", "winter", "--seed", str(SEED), "-o", str(output), *more]
    if kind == "instant":
        return [sys.executable, os.path.abspath(__file__), "--instant", *words]
    overpaint = str(Path(sys.executable).with_name("overpaint"))
    size = f"{SIDE}x{SIDE}"
    return [overpaint, "run", *words, "--steps", str(STEPS), "--strength", "1", "--size", size]


def contents(folder: Path) -> dict[str, str]:
    """Every file, hidden ones too, by its hash; but for the report, which says who did what."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name != "report.jsonl"
    }


def painted(folder: Path) -> int:
    return sum(1 for name in os.listdir(folder) if name.endswith(".png")) if folder.exists() else 0


def killing(
    kind: str,
    what: str,
    root: Path,
    cluster: Killable,
    count: int,
    kills: int,
    chance: random.Random,
) -> dict[str, Any]:
    """Paint in/ into OUT on the cluster while `kills` processes are killed."""
    output = root / f"{kind}-{what}"
    moments = sorted(chance.sample(range(count // 20, count - count // 20), kills))
    began, told, drivers = time.perf_counter(), [], 1
    driver = begin(kind, root, output, cluster, again=False)
    for moment in moments:
        while painted(output) < moment and driver.poll() is None:
            time.sleep(0.02)
        if driver.poll() is not None:
            break
        if what == "driver":
            driver.kill()
            driver.communicate()
            driver, drivers = begin(kind, root, output, cluster, again=True), drivers + 1
            told.append(moment)
        elif (cluster.kill_worker if what == "worker" else cluster.kill_node)(chance):
            told.append(moment)
    driver.communicate()
    if driver.returncode:
        sys.stderr.write((root / f"{output.name}.log").read_text(errors="replace")[-4000:])
    now, whole = contents(output), contents(root / f"{kind}-whole")
    seconds = time.perf_counter() - began
    lines = [json.loads(line) for line in (output / "report.jsonl").read_text().splitlines()]
    return {
        "killed": what,
        "after_pictures": told,
        "drivers": drivers,
        "exit_code": driver.returncode,
        "files": len(now),
        "missing": len(whole.keys() - now.keys()),
        "more": len(now.keys() - whole.keys()),
        "different": sum(now[name] != whole[name] for name in now.keys() & whole.keys()),
        "reported": len(lines),
        "reported_twice": len(lines) - len({line["image"] for line in lines}),
        "seconds": round(seconds, 1),
    }


def begin(
    kind: str, root: Path, output: Path, cluster: Killable, *, again: bool
) -> subprocess.Popen[bytes]:
    more = ["--ray", cluster.address, *(["--skip-existing"] if again else [])]
    words = command(kind, output, *more)
    with (root / f"{output.name}.log").open("ab") as log:
        return subprocess.Popen(words, cwd=root, stdout=subprocess.DEVNULL, stderr=log)


def study(kind: str, count: int, side: int, kills: int, seed: int) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_pictures(root / "in", count, side)
        began = time.perf_counter()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            command(kind, root / f"{kind}-whole"), cwd=root, check=True, stdout=subprocess.DEVNULL
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        yield {
            "engine": kind,
            "pictures": count,
            "killed": None,
            "seconds": round(time.perf_counter() - began, 1),
            "cpu_seconds": round(after.ru_utime - before.ru_utime, 1),
        }
        cluster = Killable()
        try:
            for number, what in enumerate(KINDS):
                chance = random.Random(seed + number)
                row = killing(kind, what, root, cluster, count, kills, chance)
                yield {"engine": kind, "pictures": count, **row}
        finally:
            cluster.close()


def main() -> None:
    if sys.argv[1:2] == ["--instant"]:
        instant(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--instant", dest="many", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=3, help="of each kind, in each run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    rows = []
    for kind, count, side in (("embedded", asked.pictures, SIDE), ("instant", asked.many, 16)):
        for row in study(kind, count, side, asked.kills, asked.seed) if count else ():
            rows.append(row)
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()
    if asked.write is not None:
        told = {"command": f"python bench/studies/kill_anything.py --kills {asked.kills}"}
        asked.write.write_text(json.dumps({**told, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
