"""Is there an NVIDIA GPU, and what has it left? Asked of the driver itself, with no package."""

from __future__ import annotations

import ctypes
import sys
from typing import Any, Final

from overpaint.bundle.errors import SessionError

LIBRARY: Final = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


class NoGpuError(Exception):
    """There is none, or its driver does not start; the message says which."""


def gpu_name() -> str:
    """What the first visible GPU is called: `NVIDIA H200`.

    Raises:
        NoGpuError: the message is a clause for people.
    """
    driver, device = _first()
    name = ctypes.create_string_buffer(256)
    if driver.cuDeviceGetName(name, 256, device):
        raise NoGpuError("the NVIDIA driver does not describe its first GPU")
    return name.value.decode(errors="replace")


def free_memory() -> int:
    """The bytes that the first visible GPU has left, whoever took the others.

    Raises:
        SessionError: there is no GPU, or it does not tell.
    """
    try:
        return _free(*_first())
    except NoGpuError as error:
        raise SessionError(str(error)) from None


def _free(driver: Any, device: ctypes.c_int) -> int:
    context, free, total = ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_size_t()
    if driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device):
        raise NoGpuError("the NVIDIA driver does not open its first GPU")
    try:  # the context that CUDA's own calls use: where engines are open, nothing is made here
        status = driver.cuCtxPushCurrent_v2(context)
        status = status or driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
        driver.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
    finally:
        driver.cuDevicePrimaryCtxRelease_v2(device)
    if status:
        raise NoGpuError(f"the NVIDIA driver does not tell its memory (CUDA error {status})")
    return free.value


def _first() -> tuple[Any, ctypes.c_int]:
    """The driver, and its first GPU."""
    try:
        driver = ctypes.CDLL(LIBRARY)
    except OSError:
        raise NoGpuError("no NVIDIA driver is installed here") from None
    if status := driver.cuInit(0):
        raise NoGpuError(f"the NVIDIA driver finds no GPU (CUDA error {status})")
    count, device = ctypes.c_int(), ctypes.c_int()
    if driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        raise NoGpuError("the NVIDIA driver shows no GPU; CUDA_VISIBLE_DEVICES may hide it")
    if driver.cuDeviceGet(ctypes.byref(device), 0):
        raise NoGpuError("the NVIDIA driver does not describe its first GPU")
    return driver, device
