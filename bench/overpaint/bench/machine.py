"""The machine that ran it: processor, threads, clocks, versions. Never the host's name."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from overpaint.engines.host.cores import usable_cores

from .records import Machine

PACKAGES = (
    *("overpaint", "numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt"),
    *("tensorrt-lean", "tensorrt-rtx", "tokenizers", "Pillow", "torch", "diffusers"),
    "transformers",
)
_CPUINFO = Path("/proc/cpuinfo")
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def this_machine() -> Machine:
    """What this process runs on. Clocks and governor are None where the system does not tell."""
    clocks = [float(mhz) for mhz in _cpuinfo("cpu MHz")]
    return Machine(
        processor=next(iter(_cpuinfo("model name")), "") or platform.processor() or "unknown",
        cores=os.cpu_count() or 1,
        threads=usable_cores(),
        memory_gb=round(_memory() / 1e9, 1),
        clock_mhz=round(sum(clocks) / len(clocks)) if clocks else None,
        governor=_read(_GOVERNOR),
        load_average=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        accelerators=tuple(_smi("--query-gpu=name,memory.total,clocks.sm,driver_version")),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        versions=installed_versions(),
    )


def installed_versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def device_memory_mb(pid: int) -> float | None:
    """What process `pid` holds on the NVIDIA devices; None where that cannot be read."""
    lines = _smi("--query-compute-apps=pid,used_memory")
    pairs = [line.split(",") for line in lines]
    held = [float(mib) * 1.048576 for p, mib in pairs if p.strip() == str(pid)]
    return round(sum(held), 1) if held else None


def _smi(query: str) -> list[str]:
    if not (program := shutil.which("nvidia-smi")):
        return []
    asked = [program, query, "--format=csv,noheader,nounits"]
    told = subprocess.run(asked, capture_output=True, text=True, check=False)
    return told.stdout.splitlines() if told.returncode == 0 else []


def _cpuinfo(field: str) -> list[str]:
    lines = (_read(_CPUINFO) or "").splitlines()
    pairs = (line.partition(":") for line in lines)
    return [value.strip() for name, _, value in pairs if name.strip() == field]


def _memory() -> int:
    if not hasattr(os, "sysconf"):
        return 0
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
