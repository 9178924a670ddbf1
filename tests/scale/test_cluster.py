"""A cluster that is not there is said at once, in one line."""

from __future__ import annotations

import sys

import pytest

from overpaint.bundle.errors import MissingExtraError, UsageError
from overpaint.scale.cluster import connect


def test_an_address_where_nobody_is_is_said_at_once() -> None:
    with pytest.raises(UsageError, match=r"127\.0\.0\.1:1: Connection refused"):
        connect("127.0.0.1:1")


@pytest.mark.parametrize("address", ["127.0.0.1", ":6379", "here", "127.0.0.1:port"])
def test_an_address_without_a_host_or_a_port_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="expected HOST:PORT, auto or local"):
        connect(address)


def test_without_ray_the_line_that_installs_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[ray\]"):
        connect()
