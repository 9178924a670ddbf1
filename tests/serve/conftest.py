"""One server for the tests that only look at answers; others make their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from tests.serve.engine import fake_served
from tests.serve.running import Running, serving

from overpaint.serve.config import Config

settings.register_profile("long", max_examples=5_000)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of two bundles, `fake` and `second`, as it is without any option."""
    folder = tmp_path_factory.mktemp("served")
    served = [fake_served(folder, "fake"), fake_served(folder, "second")]
    with serving(Config(port=0, folder=folder / "results"), served) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
