"""Sizes in bytes, as people write them."""

from __future__ import annotations

import pytest

from overpaint.bundle.errors import UsageError
from overpaint.engines.host.sizes import parse_bytes


@pytest.mark.parametrize(
    ("text", "count"),
    [("8GB", 8 * 10**9), ("8 GiB", 8 * 2**30), ("1.5g", 15 * 10**8), ("512MB", 512 * 10**6),
     ("100", 100)],
)  # fmt: skip
def test_sizes_are_read_as_people_write_them(text: str, count: int) -> None:
    assert parse_bytes("--memory-budget", text) == count


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "eight", "1TBx", "inf"])
def test_what_is_no_size_is_said(text: str) -> None:
    with pytest.raises(UsageError, match="--memory-budget"):
        parse_bytes("--memory-budget", text)
