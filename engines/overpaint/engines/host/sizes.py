"""Sizes in bytes, as people write them."""

from __future__ import annotations

from overpaint.bundle.errors import UsageError

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


def parse_bytes(option: str, text: str) -> int:
    """ "8GB" -> 8_000_000_000, "8GiB" -> 8 * 2**30.

    Raises:
        UsageError: it is no size; the message begins with `option`.
    """
    number = text.strip().rstrip("BbIiKkMmGg ")
    unit = text.strip()[len(number) :].strip().lower().removesuffix("b")
    try:
        count = int(float(number) * UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        count = 0
    if count <= 0:
        raise UsageError(f"{option}: expected a size such as 8GB or 8GiB, got {text!r}")
    return count
