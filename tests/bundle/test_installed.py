"""What an error tells its reader to type follows how overpaint was installed."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from overpaint.bundle.errors import MissingExtraError
from overpaint.bundle.installed import install_command, requirement, upgrade_command

HOUSE = Path(__file__).parents[2]
WHEEL = "overpaint-0.1.0-py3-none-any.whl"
Install = Callable[[dict[str, Any] | None], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Overpaint as pip records it, found before the one that is being tested."""
    folder = tmp_path / "overpaint-0.1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.4\nName: overpaint\nVersion: 0.1.0\n")
    monkeypatch.syspath_prepend(tmp_path)

    def record(origin: dict[str, Any] | None) -> None:
        if origin is not None:
            (folder / "direct_url.json").write_text(json.dumps(origin))

    return record


def checkout(path: str, *, editable: bool) -> dict[str, Any]:
    return {"url": f"file://{path}", "dir_info": {"editable": True} if editable else {}}


def repository(revision: str | None = None) -> dict[str, Any]:
    vcs = {"vcs": "git", "commit_id": "0" * 40}
    if revision:
        vcs["requested_revision"] = revision
    return {"url": "https://git.example/overpaint.git", "vcs_info": vcs}


@pytest.mark.parametrize(
    ("origin", "line"),
    [
        (None, "pip install 'overpaint[cpu]'"),
        (checkout("/src/overpaint", editable=False), "pip install '/src/overpaint[cpu]'"),
        (checkout("/src/overpaint", editable=True), "pip install --editable '/src/overpaint[cpu]'"),
        (checkout("/my%20code", editable=False), "pip install '/my code[cpu]'"),
        (repository(), "pip install 'overpaint[cpu] @ git+https://git.example/overpaint.git'"),
        (
            repository("v1"),
            "pip install 'overpaint[cpu] @ git+https://git.example/overpaint.git@v1'",
        ),
        (
            {"url": f"file:///dist/{WHEEL}", "archive_info": {}},
            f"pip install '/dist/{WHEEL}[cpu]'",
        ),
        (
            {"url": f"https://files.example/{WHEEL}", "archive_info": {}},
            f"pip install 'overpaint[cpu] @ https://files.example/{WHEEL}'",
        ),
    ],
)
def test_a_missing_extra_is_asked_for_where_overpaint_came_from(
    install: Install, origin: dict[str, Any] | None, line: str
) -> None:
    install(origin)
    assert str(MissingExtraError("cpu", "onnxruntime")).endswith(f"Install it with: {line}")


def test_several_extras_are_one_requirement(install: Install) -> None:
    install(None)
    assert install_command("cpu", "serve") == "pip install 'overpaint[cpu,serve]'"


@pytest.mark.parametrize(
    ("origin", "line"),
    [
        (None, "pip install --upgrade overpaint"),
        (
            checkout("/src/overpaint", editable=True),
            "git -C /src/overpaint pull && pip install --upgrade --editable /src/overpaint",
        ),
        (
            repository("v1"),
            "pip install --upgrade 'overpaint @ git+https://git.example/overpaint.git@v1'",
        ),
    ],
)
def test_an_upgrade_begins_where_the_sources_are(
    install: Install, origin: dict[str, Any] | None, line: str
) -> None:
    install(origin)
    assert upgrade_command() == line


@pytest.mark.parametrize("origin", [None, repository(), repository("v1")])
def test_what_is_no_path_is_a_requirement_that_pip_reads(
    install: Install, origin: dict[str, Any] | None
) -> None:
    install(origin)
    asked = Requirement(requirement("cpu"))
    assert (asked.name, asked.extras) == ("overpaint", {"cpu"})
    assert shlex.split(install_command("cpu"))[-1] == requirement("cpu")


def test_no_page_and_no_message_asks_an_index_for_what_is_not_released() -> None:
    """Pages say `pip install '.[cpu]'`; what a message says is decided in one place."""
    pages = [HOUSE / "README.md", HOUSE / "CONTRIBUTING.md", *(HOUSE / "docs").rglob("*.md")]
    sources = [path for room in HOUSE.glob("*/overpaint") for path in room.rglob("*.py")]
    assert len(pages) > 20
    assert len(sources) > 200
    naming = [path.name for path in pages + sources if "overpaint[" in path.read_text()]
    assert naming == []
