"""How many cores this process may really use, which is often fewer than the machine has."""

from __future__ import annotations

import math
import os
from pathlib import Path


def usable_cores() -> int:
    """Return the number of physical cores that this process may keep busy, at least 1.

    The least of: the physical cores behind the affinity mask (two threads of one core gain nothing
    in matrix products), the container's processor quota, and OMP_NUM_THREADS where it is set, the
    variable by which users tell numeric libraries how many threads to take.
    """
    counts = [_physical(_affinity()), _quota(), _asked()]
    return max(1, min(count for count in counts if count is not None))


def _affinity() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _physical(processors: set[int], root: str = "/sys/devices/system/cpu") -> int:
    """Processors that share a core name each other in `thread_siblings_list`; count one of each."""
    siblings = set()
    for processor in processors:
        path = f"{root}/cpu{processor}/topology/thread_siblings_list"
        siblings.add(_read(path) or str(processor))
    return len(siblings)


def _quota(root: str = "/sys/fs/cgroup") -> int | None:
    """The processor time that the container may use, in cores rounded up (cgroup v2, then v1)."""
    quota, _, period = _read(f"{root}/cpu.max").partition(" ")
    if not period:
        quota = _read(f"{root}/cpu/cpu.cfs_quota_us")
        period = _read(f"{root}/cpu/cpu.cfs_period_us")
    if not (quota.isdigit() and period.isdigit() and int(period)):
        return None  # "max" or "-1": no limit
    return max(1, math.ceil(int(quota) / int(period)))


def _asked() -> int | None:
    text = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(text) if text.isdigit() and int(text) else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
