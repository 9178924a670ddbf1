"""How much memory open bundles and their jobs may take."""

from __future__ import annotations

from overpaint.bundle.errors import UsageError
from overpaint.engines.host.memory import memory_limit

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
MEMORY_SHARE = 0.8


def parse_bytes(text: str) -> int:
    """ "8GB" -> 8_000_000_000, "8GiB" -> 8 * 2**30."""
    number = text.strip().rstrip("BbIiKkMmGg ")
    unit = text.strip()[len(number) :].strip().lower().removesuffix("b")
    try:
        count = int(float(number) * UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        count = 0
    if count <= 0:
        raise UsageError(f"--memory-budget: expected a size such as 8GB or 8GiB, got {text!r}")
    return count


def default_budget() -> int | None:
    """Four fifths of the memory that this process may come to use; None where nothing tells."""
    limit = memory_limit()
    return None if limit is None else int(limit * MEMORY_SHARE)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an engine failed for want of memory: its library's words, for there is no type."""
    text = f"{type(error).__name__}: {error}".lower()
    words = ("memoryerror", "bad_alloc", "out of memory", "failed to allocate", "bfcarena")
    return any(word in text for word in words)
