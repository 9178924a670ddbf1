"""A folder that lies in a store of objects is one like any other, to read from and to write to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from PIL import Image
from tests.cli.typed import Command, pictures

from overpaint.cli.claim import put
from overpaint.scale.places import is_remote, place


@pytest.fixture(autouse=True)
def store() -> Iterator[fsspec.AbstractFileSystem]:
    """What is under memory://, empty at first."""
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
    yield memory
    memory.store.clear()


def fill(store: fsspec.AbstractFileSystem, *names: str) -> None:
    for name in names:
        store.pipe_file(f"/in/{name}", Path(name).read_bytes())


def kept(store: fsspec.AbstractFileSystem, folder: str) -> dict[str, bytes]:
    """The pictures in a folder of the store."""
    found = {path.rpartition("/")[2]: store.cat_file(path) for path in store.ls(folder, False)}
    return {name: data for name, data in found.items() if name.endswith(".png")}


def test_a_folder_of_a_store_is_painted_into_another_to_the_byte(
    overpaint: Command, store: fsspec.AbstractFileSystem
) -> None:
    fill(store, "a.png", "b.png", "c.png")
    store.pipe_file("/in/notes.txt", b"")
    done = overpaint("memory://in", "red", "-o", "memory://out", "--seed", 3)
    assert (done.code, "memory://out/a.png  seed 3" in done.out) == (0, True)
    assert "passed over 1 that by name are no pictures" in done.err
    overpaint("a.png", "b.png", "c.png", "red", "-o", "here", "--seed", 3)
    assert kept(store, "/out") == {
        name: Path("here", name).read_bytes() for name in kept(store, "/out")
    }
    assert set(kept(store, "/out")) == pictures("here")


def test_a_run_in_a_store_goes_on_and_another_is_refused(
    overpaint: Command, store: fsspec.AbstractFileSystem
) -> None:
    fill(store, "a.png", "b.png", "c.png")
    words = ("memory://in", "red", "-o", "memory://out", "--seed", 3)
    overpaint(*words)
    before = kept(store, "/out")
    store.rm("/out/b.png")
    fill_edited = Image.new("RGB", (64, 48), "orange")
    fill_edited.save("c.png")
    fill(store, "c.png")
    done = overpaint(*words, "--skip-existing")
    assert done.err == "overpaint: 1 of 3 pictures were there already\n"
    after = kept(store, "/out")
    assert {name for name in after if after[name] != before[name]} == {"c.png"}
    assert "seed was 3 and is 4" in overpaint(*words[:-1], 4, "--skip-existing").err
    assert "exists already" in overpaint(*words).err
    assert overpaint(*words, "--force").code == 0


def test_one_bad_picture_of_a_store_costs_itself_only(
    overpaint: Command, store: fsspec.AbstractFileSystem
) -> None:
    fill(store, "a.png")
    store.pipe_file("/in/bad.png", b"not a picture")
    done = overpaint("memory://in", "red", "-o", "memory://out", "--json")
    assert done.code == 1
    [failed] = json.loads(done.out)["failed"]
    assert failed["error"].startswith("memory://in/bad.png: not a picture")
    assert set(kept(store, "/out")) == {"a.png"}


def test_rows_name_pictures_anywhere(overpaint: Command, store: fsspec.AbstractFileSystem) -> None:
    fill(store, "a.png")
    Path("rows.csv").write_text("image,prompt\nmemory://in/a.png,red\nb.png,blue\n")
    assert overpaint("--prompts", "rows.csv", "-o", "painted").code == 0
    assert pictures("painted") == {"a.png", "b.png"}


def test_a_bundle_of_a_store_is_opened_from_its_copy(
    overpaint: Command, store: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = Path("copied")
    monkeypatch.setattr("overpaint.scale.weights.local_copy", lambda url, _: copied / url[-1])
    asked: list[Path] = []
    monkeypatch.setattr(
        "overpaint.cli.painter.bundle_to_open", lambda bundle, *_, **__: asked.append(bundle)
    )
    words = ("a.png", "red", "-o", "out.png", "--bundle", "memory://bundles/a")
    assert overpaint(*words, "--refiner", "memory://bundles/b").code == 0
    assert asked == [copied / "a", copied / "b"]


def test_what_is_read_from_a_store_is_never_written(
    overpaint: Command, store: fsspec.AbstractFileSystem
) -> None:
    fill(store, "a.png")
    refused = overpaint("memory://in", "red", "-o", "memory://in", "--force")
    assert (refused.code, "which is to be read" in refused.err) == (2, True)


def test_a_name_in_a_store_is_claimed_once(store: fsspec.AbstractFileSystem) -> None:
    path = place("memory://out/a.png")
    put(b"first", path, replace=False)
    with pytest.raises(FileExistsError):
        put(b"second", path, replace=False)
    assert path.read_bytes() == b"first"


def test_a_file_url_is_a_path(tmp_path: Path) -> None:
    assert place(f"file://{tmp_path}/a%20b") == tmp_path / "a b"
    assert not is_remote(place("holiday"))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nowhere://a/b", "nowhere://a/b: cannot be opened"),
        ("memory://empty", "memory://empty"),
    ],
)
def test_a_url_that_cannot_be_read_is_one_line(overpaint: Command, url: str, says: str) -> None:
    done = overpaint(url, "red", "-o", "painted")
    assert done.code != 0
    assert (len(done.err.splitlines()), says in done.err) == (1, True)
