"""Where bundles with an adapter lie, and a pipeline on one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import Adapters, BuildOnce

from overpaint.runtime import Img2Img


@pytest.fixture(autouse=True)
def cache(build_once: BuildOnce, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made once in a run of the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(build_once("adapter-cache", Path.mkdir)))


@pytest.fixture
def seeing(adapters: Adapters) -> Iterator[Img2Img]:
    """Stable Diffusion 1 with a base adapter."""
    tiny = adapters("sd1", "base")
    with Img2Img.open(tiny.bundle, ip_adapter=tiny.adapter, device="cpu") as pipe:
        yield pipe
