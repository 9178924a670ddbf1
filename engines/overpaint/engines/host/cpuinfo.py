"""Which instruction sets this processor has, by the names that Linux gives them."""

from __future__ import annotations

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def cpu_flags() -> frozenset[str]:
    """`avx2`, `avx512f`, `amx_bf16`, `asimd`, … among other words of /proc/cpuinfo; empty where
    there is no such file."""
    try:
        return frozenset(CPUINFO.read_text().split())
    except OSError:
        return frozenset()
