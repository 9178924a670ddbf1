"""Tensors that stay where they are: on the GPU, with page-locked host memory beside them if any.

A CUDA graph reads and writes the addresses that it was captured with, so a tensor's content is
renewed in place and its memory is never another's while a graph may use it.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from overpaint.bundle.arrays import NUMPY_DTYPES, Array
from overpaint.bundle.tensor import Tensor

from .options import CUDA, DEVICE


class DeviceTensor:
    """One input or output of one shape, on the GPU."""

    def __init__(
        self, runtime: ModuleType, tensor: Tensor, shape: tuple[int, ...], pinned: Any | None
    ) -> None:
        """Allocate it. `pinned` is the OrtMemoryInfo of page-locked memory, or None."""
        dtype = NUMPY_DTYPES[tensor.dtype]
        values = runtime.OrtValue
        self.value: Any = values.ortvalue_from_shape_and_type(shape, dtype, "cuda", int(DEVICE))
        self._runtime = runtime
        self._host: Any | None = None
        if pinned is not None:
            self._host = values.ortvalue_from_shape_and_type(shape, dtype, memory_info=pinned)
            self._view: Array = self._host.numpy()

    def upload(self, array: Array) -> None:
        """Make `array` its content. Returns when the GPU has it."""
        if self._host is None:
            self.value.update_inplace(array)
            return
        np.copyto(self._view, array)
        self._runtime.copy_tensors([self._host], [self.value])

    def download(self) -> Array:
        """Its content: a new array, or where host memory is pinned, one that the next call
        overwrites."""
        if self._host is None:
            content: Array = self.value.numpy()
            return content
        self._runtime.copy_tensors([self.value], [self._host])
        return self._view


class HostTensor:
    """An input that the graph reads on the processor: ONNX Runtime sees the very array."""

    def __init__(self, runtime: ModuleType, tensor: Tensor, shape: tuple[int, ...]) -> None:
        self._array: Array = np.zeros(shape, NUMPY_DTYPES[tensor.dtype])
        self.value: Any = runtime.OrtValue.ortvalue_from_numpy(self._array)

    def upload(self, array: Array) -> None:
        """Make `array` its content."""
        np.copyto(self._array, array)


def pinned_memory(runtime: ModuleType) -> Any | None:
    """Where page-locked memory is to be had, as ONNX Runtime names it; None if it offers none.

    It is offered by builds whose CUDA provider is registered as a plugin; the others copy through
    pageable memory.
    """
    for device in runtime.get_ep_devices():
        if device.ep_name == CUDA:
            return device.memory_info(runtime.OrtDeviceMemoryType.HOST_ACCESSIBLE)
    return None
