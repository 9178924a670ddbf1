"""A bundle at a URL is fetched once a machine, whole or not at all, and rolled by its hash."""

from __future__ import annotations

import functools
import http.server
import json
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest

from overpaint.bundle.errors import BundleError, IntegrityError
from overpaint.bundle.format.open import open_bundle
from overpaint.runtime import Img2Img
from overpaint.runtime.default_bundle import EMBEDDED
from overpaint.scale import weights
from overpaint.scale.weights import local_copy

URL = "memory://bundles/pocket"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/overpaint/copies"


@pytest.fixture
def store() -> Iterator[fsspec.AbstractFileSystem]:
    """The embedded model's bundle, in a store of objects."""
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
    memory.put(str(EMBEDDED), "/bundles/pocket", recursive=True)
    yield memory
    memory.store.clear()


@pytest.fixture
def served() -> Iterator[tuple[str, list[str]]]:
    """The same behind HTTP: its URL, and what was asked for."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Handler, directory=str(EMBEDDED))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", asked
    server.shutdown()


def change(store: fsspec.AbstractFileSystem, name: str) -> None:
    """Another bundle at the same URL."""
    manifest = json.loads(store.cat_file("/bundles/pocket/overpaint.json"))
    manifest["name"] = name
    store.pipe_file("/bundles/pocket/overpaint.json", json.dumps(manifest).encode())


def folders(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.glob("*/*") if path.is_dir())


def in_a_process_of_its_own(url: str) -> str:
    """Fetch, say where it is, and end."""
    program = f"from overpaint.scale.weights import local_copy; print(local_copy({url!r}))"
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_copy_paints_what_the_bundle_paints(store: fsspec.AbstractFileSystem) -> None:
    options = {"steps": 2, "strength": 1.0, "size": (64, 64), "seed": 1}
    grey = np.full((64, 64, 3), 127, np.uint8)
    pictures = []
    for bundle in (local_copy(URL), EMBEDDED):
        with Img2Img.open(bundle) as pipe:
            pictures.append(pipe(grey, "winter", **options).images[0].tobytes())
    assert pictures[0] == pictures[1]


def test_a_local_path_is_itself() -> None:
    assert local_copy(str(EMBEDDED)) == EMBEDDED
    assert local_copy(f"file://{EMBEDDED}") == EMBEDDED


def test_of_processes_that_ask_at_once_one_fetches(served: tuple[str, list[str]]) -> None:
    url, asked = served
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        copies = set(pool.map(local_copy, [url] * 3))
    assert len(copies) == 1
    assert open_bundle(copies.pop(), verify="full")
    graphs = [path for path in asked if path.endswith(".onnx")]
    assert graphs
    assert len(graphs) == len(set(graphs))


def test_another_bundle_at_the_url_is_noticed_and_the_old_one_stays_while_it_is_used(
    store: fsspec.AbstractFileSystem, cache: Path
) -> None:
    old = local_copy(URL)
    assert local_copy(URL) == old
    change(store, "another")
    new = local_copy(URL)
    assert open_bundle(new).manifest.name == "another"
    assert folders(cache) == sorted([old.name, new.name])  # this process was given both


def test_an_old_copy_that_nobody_uses_is_removed(
    served: tuple[str, list[str]], cache: Path, tmp_path: Path
) -> None:
    url, _ = served
    old = in_a_process_of_its_own(url)
    home = Path(old).parent
    stale = home / ("0" * 32)
    Path(old).rename(stale)
    (home / f"{Path(old).name}.lock").rename(home / f"{stale.name}.lock")
    assert folders(cache) == [stale.name]
    assert in_a_process_of_its_own(url) == old
    assert folders(cache) == [Path(old).name]


def test_an_interrupted_fetch_leaves_no_bundle_and_goes_on(
    store: fsspec.AbstractFileSystem, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, fetched = weights.fetch, []

    def breaking(path: Path, to: Path) -> None:
        if len(fetched) == 3:
            to.write_bytes(b"half")
            raise KeyboardInterrupt
        fetched.append(path)
        usual(path, to)

    with monkeypatch.context() as patch:
        patch.setattr(weights, "fetch", breaking)
        with pytest.raises(KeyboardInterrupt):
            local_copy(URL)
    assert all(name.endswith(".part") for name in folders(cache))
    again: list[Path] = []
    monkeypatch.setattr(weights, "fetch", lambda path, to: (again.append(path), usual(path, to)))
    assert open_bundle(local_copy(URL), verify="full")
    assert again
    assert not set(again) & set(fetched)


@pytest.mark.parametrize("damage", ["changed", "cut short", "missing"])
def test_a_damaged_file_is_refused_by_name_and_nothing_is_kept(
    store: fsspec.AbstractFileSystem, cache: Path, damage: str
) -> None:
    name = next(path for path in store.find("/bundles/pocket") if path.endswith("unet/model.onnx"))
    data = store.cat_file(name)
    if damage == "missing":
        store.rm(name)
    else:
        store.pipe_file(name, data[:-1] + (b"" if damage == "cut short" else b"\0"))
    with pytest.raises(IntegrityError, match=r"memory://.*unet/model\.onnx"):
        local_copy(URL)
    assert all(folder.endswith(".part") for folder in folders(cache))


def test_where_no_bundle_is_one_line_says_so(store: fsspec.AbstractFileSystem) -> None:
    with pytest.raises(BundleError, match=r"memory://nowhere: expected a bundle"):
        local_copy("memory://nowhere")


def test_a_manifest_that_leaves_its_folder_is_refused(
    store: fsspec.AbstractFileSystem, tmp_path: Path
) -> None:
    path = "/bundles/pocket/overpaint.json"
    manifest = json.loads(store.cat_file(path))
    manifest["files"] = {"../../../evil": {"size": 1, "sha256": "0" * 64}, **manifest["files"]}
    store.pipe_file(path, json.dumps(manifest).encode())
    with pytest.raises(IntegrityError, match="leaves the folder"):
        local_copy(URL)
    assert not [name for name in os.listdir(tmp_path) if name == "evil"]
