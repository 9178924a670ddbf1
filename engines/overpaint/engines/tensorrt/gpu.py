"""The GPU that CUDA gives this process: the first visible one (CUDA_VISIBLE_DEVICES chooses)."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from overpaint.bundle.errors import SessionError


@dataclass(frozen=True, slots=True)
class Gpu:
    """`compute_capability` is like "9.0", `driver` like "13000", as CUDA numbers them; `memory` is
    bytes in all."""

    name: str
    compute_capability: str
    driver: str
    memory: int


def find_gpu(cudart: ModuleType) -> Gpu:
    """Ask CUDA for its first device.

    Raises:
        SessionError: there is no driver, or no GPU.
    """
    (count,) = checked(cudart, cudart.cudaGetDeviceCount(), "looking for a GPU")
    if not count:
        raise SessionError("CUDA finds no GPU")
    (properties,) = checked(cudart, cudart.cudaGetDeviceProperties(0), "asking for the GPU")
    (driver,) = checked(cudart, cudart.cudaDriverGetVersion(), "asking for the driver")
    return Gpu(
        name=properties.name.decode().rstrip("\0"),
        compute_capability=f"{properties.major}.{properties.minor}",
        driver=str(driver),
        memory=properties.totalGlobalMem,
    )


def free_memory(cudart: ModuleType) -> int:
    """Bytes of the GPU's memory that nobody uses now.

    Raises:
        SessionError: CUDA does not say.
    """
    free, _ = checked(cudart, cudart.cudaMemGetInfo(), "asking for free memory")
    return int(free)


def checked(cudart: ModuleType, result: tuple[Any, ...], doing: str) -> tuple[Any, ...]:
    """The values of a CUDA call, without its status.

    Raises:
        SessionError: the status is not success.
    """
    status, *values = result
    if status != cudart.cudaError_t.cudaSuccess:
        _, text = cudart.cudaGetErrorString(status)
        reason = text.decode() if isinstance(text, bytes) else str(text)
        raise SessionError(f"CUDA failed while {doing}: {reason}")
    return tuple(values)


def platform_name() -> str:
    """This operating system and processor, as plans name them: `linux-x86_64`."""
    system = {"win32": "windows", "darwin": "macos"}.get(sys.platform, sys.platform)
    machine = platform.machine().lower()
    return f"{system}-{({'amd64': 'x86_64', 'arm64': 'aarch64'}).get(machine, machine)}"
