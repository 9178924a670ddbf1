"""How much memory this process may come to use, which in a container is less than there is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def memory_limit(root: str = "/") -> int | None:
    """Return bytes: the least of the machine's memory with its swap space and what the control
    groups around this process allow (cgroup v2, then v1). None where nothing tells."""
    limits = [*_machine(root), *_groups(root)]
    return min(limits, default=None)


def _machine(root: str) -> Iterator[int]:
    lines = dict(line.split(":", 1) for line in _read(f"{root}/proc/meminfo").splitlines())
    if "MemTotal" in lines:
        yield sum(int(lines.get(name, "0").split()[0]) for name in ("MemTotal", "SwapTotal")) * 1024
    elif hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _groups(root: str) -> Iterator[int]:
    """A group's limit holds for the groups within it; in a container its own is the root."""
    for line in _read(f"{root}/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            folder, file = f"{root}/sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            folder, file = f"{root}/sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        for group in (PurePosixPath(path), *PurePosixPath(path).parents):
            text = _read(f"{folder}{group}/{file}")
            if text.isdigit():  # "max": no limit
                yield int(text)


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
