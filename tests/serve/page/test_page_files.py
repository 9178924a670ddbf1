"""The page's files: small, all of use, and all of them served."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

import httpx
import pytest
from tests.serve.running import Running

from overpaint.serve.page import FILES, FOLDER, INDEX

MODULES = {path: file.read_text() for path, file in FILES.items() if file.suffix == ".js"}
SHEETS = {path: file.read_text() for path, file in FILES.items() if file.suffix == ".css"}
HTML, SCRIPT, STYLE = INDEX.read_text(), "".join(MODULES.values()), "".join(SHEETS.values())
IMPORT = re.compile(r'^(?:import|export) .*?from "(.*)";$', re.MULTILINE)


@pytest.mark.parametrize("path", [*MODULES, *SHEETS])
def test_a_file_of_the_page_can_be_read_in_one_sitting(path: str) -> None:
    assert len(FILES[path].read_text().splitlines()) <= 150


def test_every_module_is_imported_and_every_import_is_served() -> None:
    reached, ahead = set(), {"/page/main.js"}
    while ahead:
        path = ahead.pop()
        reached.add(path)
        named = IMPORT.findall(MODULES[path])
        ahead |= {posixpath.normpath(f"{path}/../{name}") for name in named} - reached
    assert reached == set(MODULES)


def test_every_style_sheet_and_the_first_module_are_asked_for() -> None:
    asked = re.findall(r'(?:href|src)="(/[^"]*)"', INDEX.read_text())
    assert sorted(asked) == sorted(["/page/main.js", *SHEETS])


def test_every_name_in_the_style_sheets_is_worn_by_something() -> None:
    selectors = "".join(re.findall(r"[^{};]*(?=\{)", STYLE))
    names = {
        one for pair in re.findall(r"[.#]([a-z][\w-]*)|\[data-([a-z]+)", selectors) for one in pair
    }
    assert len(names) > 50
    assert [name for name in names if not re.search(rf"\b{name}\b", HTML + SCRIPT)] == []


def test_every_id_is_of_use_and_every_one_that_is_looked_up_is_there() -> None:
    there = re.findall(r'id="([\w-]+)"', HTML)
    assert len(there) == len(set(there))
    looked_up = set(re.findall(r'\$\("([\w-]+)"\)', SCRIPT)) | {"steps", "guidance", "n"}
    assert looked_up <= set(there)
    referred = set(re.findall(r"#([\w-]+)", HTML + STYLE + SCRIPT))
    referred |= set(re.findall(r'(?:for|labelledby)="([\w-]+)"', HTML))
    assert set(there) <= looked_up | referred


def test_the_files_go_out_under_a_strict_policy(server: Running) -> None:
    for path in FILES:
        answer = httpx.get(server.url + path)
        assert answer.status_code == 200, path
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-cache"  # a new version is seen at once
        if path in MODULES:
            assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    html = httpx.get(server.url).text
    assert "style=" not in html
    assert "onclick" not in html


def test_the_example_on_the_page_is_the_one_of_the_examples() -> None:
    examples = Path(__file__).parents[3] / "examples"
    assert (FOLDER / "example.png").read_bytes() == (examples / "summer.png").read_bytes()
