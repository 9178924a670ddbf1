"""Bundles that lie elsewhere are served as those that lie here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import msgspec
import pytest
from tests.serve.running import serving

from overpaint.bundle.errors import BundleError
from overpaint.runtime.default_bundle import EMBEDDED
from overpaint.scale.places import place
from overpaint.serve.command import as_every_node_sees
from overpaint.serve.config import Config
from overpaint.serve.jobs.engines.bundles import Opening, served_bundle
from overpaint.serve.jobs.replicas.deploy import Engines

URL = "memory://bundles/landscapes"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The embedded model's bundle, in a store of objects; and a cache of this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.put(str(EMBEDDED), "/bundles/landscapes", recursive=True)
    yield
    memory.store.clear()


@pytest.mark.usefixtures("store")
def test_a_bundle_at_a_url_is_fetched_and_served_under_its_last_name() -> None:
    served = served_bundle(place(URL), Opening(device="cpu"))
    assert served.name == "landscapes"
    assert served.fingerprint == served_bundle(EMBEDDED, Opening(device="cpu")).fingerprint
    with serving(Config(port=0), [served]) as server:
        job = server.ended(server.submit(model="landscapes", size="64x64", steps=1)["id"])
        assert job["status"] == "completed"


@pytest.mark.usefixtures("store")
def test_where_no_bundle_lies_one_line_says_so() -> None:
    with pytest.raises(BundleError, match=r"memory.*/none: expected a bundle"):
        served_bundle(place("memory://bundles/none"), Opening(device="cpu"))


def test_a_replica_is_told_urls_as_they_are_and_paths_from_the_root() -> None:
    bundles = as_every_node_sees((place(URL), Path("bundles/sd15")))
    told = msgspec.to_builtins(Engines(bundles=bundles), enc_hook=str)
    assert [*told["bundles"]] == [URL, str(Path.cwd() / "bundles/sd15")]
    assert Engines.of(told).bundles == bundles
