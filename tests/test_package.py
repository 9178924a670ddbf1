"""The sdist and the wheel are fit to publish: metadata, contents, the page that an index shows."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path, PurePosixPath

import pytest
from tests.checkout import HOUSE

PYPROJECT = tomllib.loads((HOUSE / "pyproject.toml").read_text())
ROOTS = PYPROJECT["tool"]["hatch"]["build"]["dev-mode-dirs"]
REPOSITORY = PYPROJECT["project"]["urls"]["Homepage"]
PICTURES = REPOSITORY.replace("//github.com", "//raw.githubusercontent.com") + "/main/"
LINK = re.compile(r"\]\(([^)]+)\)")


@pytest.fixture(scope="module")
def wheel(dist: Path) -> zipfile.ZipFile:
    (path,) = dist.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    (path,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(path).decode())


@pytest.fixture(scope="module")
def page(metadata: Message) -> str:
    """What an index shows of the package."""
    text = metadata.get_payload()
    assert isinstance(text, str)
    return text


def test_an_index_would_take_both(dist: Path) -> None:
    archives = sorted(dist.glob("*.whl")) + sorted(dist.glob("*.tar.gz"))
    assert len(archives) == 2
    command = [sys.executable, "-m", "twine", "check", "--strict", *archives]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.count("PASSED") == 2


def test_the_metadata_says_whose_it_is_and_where_to_turn(metadata: Message) -> None:
    urls = dict(url.split(", ", 1) for url in metadata.get_all("Project-URL", []))
    assert urls.keys() == {"Homepage", "Documentation", "Source", "Issues", "Changelog"}
    assert all(url.startswith(REPOSITORY) for url in urls.values())
    assert metadata["Author"]
    assert metadata["License-Expression"] == "Apache-2.0"
    assert {"stable-diffusion", "img2img", "onnx"} <= set(metadata["Keywords"].split(","))
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])


def test_every_file_of_every_room_is_in_the_wheel_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    there = {name for name in wheel.namelist() if ".dist-info/" not in name}
    here = {
        path.relative_to(HOUSE / root).as_posix()
        for root in ROOTS
        for path in (HOUSE / root / "overpaint").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert there == here


def test_every_room_is_typed(wheel: zipfile.ZipFile) -> None:
    """Each says so itself: the namespace above them is nobody's, and a marker there is not read."""
    files = [PurePosixPath(name) for name in wheel.namelist()]
    rooms = {path.parts[1] for path in files if path.parts[0] == "overpaint" and path.parts[2:]}
    typed = {path.parts[1] for path in files if path.parts[2:] == ("py.typed",)}
    assert {"engines", "runtime"} <= rooms
    assert typed == rooms


def test_what_an_index_page_links_to_is_in_the_repository(page: str) -> None:
    links = LINK.findall(page)
    assert len(links) == len(LINK.findall((HOUSE / "README.md").read_text())) > 10
    for link in links:
        assert link.startswith("https://"), link
        inside = link.removeprefix(PICTURES).removeprefix(f"{REPOSITORY}/blob/main/")
        path, _, _ = inside.partition("#")
        assert "://" in path or (HOUSE / path).exists(), link


def test_an_index_page_shows_its_pictures(page: str) -> None:
    """As bytes, not as the repository's page about them."""
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page)
    assert pictures
    assert all(picture.startswith(PICTURES) for picture in pictures)


def test_an_index_page_installs_from_the_index(page: str) -> None:
    assert "pip install 'overpaint[cpu]'\n" in page
    assert "pip install '." not in page


def test_the_sdist_has_what_builds_and_tests_it_and_no_pictures_of_the_pages(dist: Path) -> None:
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "LICENSE", "Makefile", "tests/conftest.py", "docs/bundle.md"} <= names
    assert not [name for name in names if name.startswith("docs/pictures/")]
    assert path.stat().st_size <= 20e6
