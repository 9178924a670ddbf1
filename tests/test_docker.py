"""The Dockerfiles cannot rot: their steps are run as plain commands, where `/` is a folder."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from tests.checkout import HOUSE, copy_checkout
from tests.serve.process import free_port, wait_until

TOKEN = "sixteen-characters-and-more"
FILES = ("Dockerfile", "Dockerfile.cuda")


def instructions(name: str) -> list[tuple[str, str]]:
    """(FROM, image), (RUN, command) … of a Dockerfile."""
    lines = (HOUSE / name).read_text().splitlines()
    pairs = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    return [(word, rest) for word, rest in pairs]


@dataclass
class Image:
    """What a Dockerfile makes, with `root` for `/`. Instructions that are not known are errors."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    server: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)

    def inside(self, text: str) -> str:
        """`text` with its absolute paths, but not a URL's, under `root`."""
        return re.sub(r"(?<![\w.:/])/(?=[a-z])", f"{self.root}/", text)

    def step(self, instruction: str, rest: str) -> None:
        match instruction:
            case "FROM":
                here = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
                self.environment = os.environ | {"PATH": here}
            case "COPY" if rest.startswith("--from="):
                _, source, target = rest.split()
                assert source == target, "an environment cannot be moved"
            case "COPY":
                source, target = rest.split()
                assert source == "."
                copy_checkout(Path(self.inside(target)), ".dockerignore")
            case "RUN":
                command = ["sh", "-c", self.inside(rest)]
                subprocess.run(command, env=self.environment, check=True)
            case "ENV":
                name, _, value = rest.partition("=")
                value = self.inside(value).replace("$PATH", self.environment["PATH"])
                self.environment[name] = value
            case "ENTRYPOINT" | "CMD":
                self.server += json.loads(rest)
            case "HEALTHCHECK":
                self.health = json.loads(rest.partition("CMD ")[2])
            case "USER" | "EXPOSE":
                pass
            case _:
                raise AssertionError(f"no test knows what {instruction} does")

    def files(self) -> dict[Path, int]:
        """Every file outside /tmp, and when it was written."""
        found = [path for path in self.root.rglob("*") if path.is_file()]
        writable = self.root / "tmp"
        return {
            path: path.lstat().st_mtime_ns for path in found if not path.is_relative_to(writable)
        }


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    image = Image(tmp_path_factory.mktemp("image"))
    (image.root / "tmp").mkdir()
    for instruction, rest in instructions("Dockerfile"):
        image.step(instruction, rest)
    return image


def test_the_server_is_healthy_once_warm_paints_and_writes_to_tmp_alone(image: Image) -> None:
    port = free_port()
    health = [word.replace(":8000", f":{port}") for word in image.health]
    environment = image.environment | {"OVERPAINT_TOKEN": TOKEN}

    def healthy() -> bool:
        asked = subprocess.run(health, env=environment, cwd=image.root, capture_output=True)
        return asked.returncode == 0

    assert not healthy()
    before = image.files()
    log = (image.root / "tmp/log").open("w+")
    command = [*image.server, "--port", str(port)]
    server = subprocess.Popen(command, env=environment, cwd=image.root, stderr=log)
    try:
        wait_until(healthy)
        assert "warmed up for 128x128" in Path(log.name).read_text()
        assert picture(port).startswith(b"\x89PNG")
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=30) == 0
    finally:
        server.kill()
        server.wait()
    assert image.files() == before


def picture(port: int) -> bytes:
    """What the server paints for whoever has the token."""
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=bearer) as client:
        asked = {"prompt": "winter mountains at night", "size": "128x128", "steps": 2}
        job = client.post("/v1/jobs", json=asked).raise_for_status().json()["id"]
        wait_until(lambda: client.get(f"/v1/jobs/{job}").json()["status"] == "completed")
        media = client.get(f"/v1/jobs/{job}").json()["result"]["media"][0]
        return client.get(f"/v1/media/{media}.png").raise_for_status().content


def test_the_page_about_containers_says_how_large_the_environment_is(image: Image) -> None:
    """To a tenth: what others publish grows and shrinks."""
    [told] = re.findall(r"environment of (\d+) MB", (HOUSE / "docs/containers.md").read_text())
    sizes = [path.lstat().st_size for path in (image.root / "opt").rglob("*") if path.is_file()]
    assert float(told) == pytest.approx(sum(sizes) / 1e6, rel=0.1)


@pytest.mark.parametrize("name", FILES)
def test_an_image_is_slim_and_its_user_ordinary(name: str) -> None:
    said = dict(instructions(name))
    assert said["FROM"].endswith("-slim")
    assert int(said["USER"].partition(":")[0]) >= 1000
    assert said["EXPOSE"] == "8000"


def test_the_cuda_image_differs_by_the_extra_and_the_device_alone() -> None:
    on_cpu, on_cuda = map(instructions, FILES)
    as_cpu = [(word, re.sub(r"(\[|\")cuda(,|\")", r"\1cpu\2", rest)) for word, rest in on_cuda]
    assert on_cpu == as_cpu
    assert on_cpu != on_cuda
