"""Is there an NVIDIA GPU? Asked of the driver itself, which is there or is not, with no package."""

from __future__ import annotations

import ctypes
import sys
from typing import Final

LIBRARY: Final = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


class NoGpuError(Exception):
    """There is none, or its driver does not start; the message says which."""


def gpu_name() -> str:
    """What the first visible GPU is called: `NVIDIA H200`.

    Raises:
        NoGpuError: the message is a clause for people.
    """
    try:
        driver = ctypes.CDLL(LIBRARY)
    except OSError:
        raise NoGpuError("no NVIDIA driver is installed here") from None
    if status := driver.cuInit(0):
        raise NoGpuError(f"the NVIDIA driver finds no GPU (CUDA error {status})")
    count = ctypes.c_int()
    if driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        raise NoGpuError("the NVIDIA driver shows no GPU; CUDA_VISIBLE_DEVICES may hide it")
    device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
    if driver.cuDeviceGet(ctypes.byref(device), 0) or driver.cuDeviceGetName(name, 256, device):
        raise NoGpuError("the NVIDIA driver does not describe its first GPU")
    return name.value.decode(errors="replace")
