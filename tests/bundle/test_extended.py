"""An extension of a bundle: made once, beside its base, and open to whatever opens a bundle."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from overpaint.bundle.extended import extended
from overpaint.bundle.format.manifest import Manifest
from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.format.verify import verify_bundle


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def renamed(folder: Path, manifest: Manifest) -> Manifest:
    return msgspec.structs.replace(manifest, name="renamed")


def test_it_is_a_whole_bundle_whose_base_is_as_it_was(tiny_sd1_bundle: Path, cache: Path) -> None:
    base = open_bundle(tiny_sd1_bundle)
    folder = extended(base, "named", ["a"], renamed)
    assert folder.is_relative_to(cache)
    assert verify_bundle(folder).whole
    assert open_bundle(folder).manifest.name == "renamed"
    assert open_bundle(tiny_sd1_bundle).manifest == base.manifest


def test_it_is_made_once_for_each_key(tiny_sd1_bundle: Path) -> None:
    base, made = open_bundle(tiny_sd1_bundle), list[Path]()

    def edit(folder: Path, manifest: Manifest) -> Manifest:
        made.append(folder)
        return manifest

    first, again, other = (extended(base, "named", [key], edit) for key in ("a", "a", "b"))
    assert first == again != other
    assert len(made) == 2


def test_extensions_extend(tiny_sd1_bundle: Path) -> None:
    once = open_bundle(extended(open_bundle(tiny_sd1_bundle), "named", ["a"], renamed))
    twice = extended(once, "named", ["a"], renamed)
    assert twice != once.folder
    assert verify_bundle(twice).whole


def test_nothing_is_left_of_one_that_failed(tiny_sd1_bundle: Path, cache: Path) -> None:
    def edit(folder: Path, manifest: Manifest) -> Manifest:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        extended(open_bundle(tiny_sd1_bundle), "named", ["a"], edit)
    assert not list(cache.rglob("*.onnx"))
