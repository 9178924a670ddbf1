"""How much memory open bundles and their jobs may take."""

from __future__ import annotations

from overpaint.engines.host.memory import memory_limit

MEMORY_SHARE = 0.8


def default_budget() -> int | None:
    """Four fifths of the memory that this process may come to use; None where nothing tells."""
    limit = memory_limit()
    return None if limit is None else int(limit * MEMORY_SHARE)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an engine failed for want of memory: its library's words, for there is no type."""
    text = f"{type(error).__name__}: {error}".lower()
    words = ("memoryerror", "bad_alloc", "out of memory", "failed to allocate", "bfcarena")
    return any(word in text for word in words)
