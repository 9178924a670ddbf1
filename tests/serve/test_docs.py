"""docs/serving.md: its examples run, and its options exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import sync_playwright
from tests.programs import needed
from tests.serve.masks import white
from tests.serve.running import Running, png
from typer.testing import CliRunner

from overpaint.cli.app import app

DOCS = Path(__file__).parents[2] / "docs" / "serving.md"


OF_THE_SOAK = ("--minutes", "--out")
"""Options of another command that the page names."""


def examples(language: str) -> str:
    """All examples in `language`, one after the other, as somebody would type them."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", DOCS.read_text(), re.DOTALL | re.MULTILINE)
    assert blocks
    return "\n".join(blocks)


@pytest.fixture
def desk(server: Running, folder: Path) -> Path:
    """A folder with a photo and a mask in it."""
    (folder / "photo.png").write_bytes(png(64, 64))
    white().save(folder / "mask.png")
    return folder


def at(server: Running, text: str) -> str:
    """`text`, meaning this server."""
    assert "127.0.0.1:8000" in text or "port=8000" in text
    return text.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}").replace(
        "port=8000", f"port={server.port}"
    )


def test_the_curl_examples_run(server: Running, desk: Path) -> None:
    script = "set -euo pipefail\n" + at(server, examples("sh"))
    for program in ("curl", "jq"):
        needed(program)
    run = subprocess.run(
        ["bash", "-c", script], cwd=desk, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() in ('"queued"', '"running"')
    assert Image.open(desk / "painted.png").size == (64, 64)


def test_the_python_examples_run(server: Running, desk: Path) -> None:
    script = at(server, examples("python"))
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=desk, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    painted = [path for path in desk.glob("*.png") if path.name not in ("photo.png", "mask.png")]
    assert len(painted) == 2
    for path in painted:
        assert np.asarray(Image.open(path)).shape == (64, 64, 3)


def test_the_browser_example_runs(server: Running) -> None:
    chromium = needed("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        page.goto(server.url + "/healthz")
        script = examples("js")
        pixels = page.evaluate(
            f"async () => {{ {script}\n const bitmap = await createImageBitmap(picture);"
            " return [bitmap.width, bitmap.height]; }"
        )
        browser.close()
    assert pixels == [64, 64]


def test_every_option_that_is_named_exists() -> None:
    """And every option of the command is in its help, with a word on what it does."""
    help_text = CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "200"}).output
    plain = re.sub(r"\x1b\[[0-9;]*m", "", help_text)
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", DOCS.read_text()))
    assert named
    for option in named - {"--help", *OF_THE_SOAK}:
        assert option in plain, option


def test_every_route_of_the_api_is_named(server: Running) -> None:
    text = DOCS.read_text()
    for path in server.client.get("/openapi.json").json()["paths"]:
        assert re.sub(r"\{\w+}", "{id}", path) in text
