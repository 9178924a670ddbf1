"""Memory that a process may use: not that of the machine around its container."""

from __future__ import annotations

from pathlib import Path

import pytest

from overpaint.engines.host.memory import memory_limit

GB = 2**30


def machine(root: Path, files: dict[str, str]) -> str:
    files = {"proc/meminfo": "MemTotal: 16777216 kB\nMemFree: 1 kB\nSwapTotal: 1048576 kB"} | files
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n")
    return str(root)


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, 17 * GB),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/memory.max": "max"}, 17 * GB),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/memory.max": f"{2 * GB}"}, 2 * GB),
        (
            {
                "proc/self/cgroup": "0::/user.slice/a.scope",
                "sys/fs/cgroup/user.slice/memory.max": f"{GB}",
                "sys/fs/cgroup/user.slice/a.scope/memory.max": "max",
            },
            GB,
        ),
        (
            {
                "proc/self/cgroup": "9:cpu:/\n4:memory,x:/box\n0::/",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
                "sys/fs/cgroup/memory/box/memory.limit_in_bytes": f"{3 * GB}",
            },
            3 * GB,
        ),
    ],
)
def test_the_least_of_all_limits_counts(files: dict[str, str], limit: int, tmp_path: Path) -> None:
    assert memory_limit(machine(tmp_path, files)) == limit


def test_this_machine_has_some() -> None:
    assert (memory_limit() or 0) > 2**28
