"""One stream of one GPU, and the few CUDA calls that sessions make on it, each checked.

Everything runs on one stream, in order: so the activations of engines that never run together can
share their memory, and nothing needs waiting for but the end. `lock` is held while work is put on
it, so that sessions in several threads take turns.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable
from math import prod
from types import ModuleType
from typing import Any

import numpy as np

from overpaint.bundle.arrays import Array
from overpaint.bundle.errors import SessionError

from .arena import Arena
from .gpu import checked
from .libraries import import_cudart

ALIGNMENT = 256  # bytes; what TensorRT asks of device memory


class Cuda:
    """The stream, its calls, and the arena that the engines on it share."""

    def __init__(self, cudart: ModuleType) -> None:
        self._cudart = cudart
        self.lock = threading.RLock()
        # One that waits for no other, so that a capture survives what other libraries do meanwhile.
        flags = cudart.cudaStreamNonBlocking
        (self.stream,) = self._call(cudart.cudaStreamCreateWithFlags(flags), "making a stream")
        self.arena = Arena(self)

    def allocate(self, size: int) -> int:
        """Device memory, aligned to 256 bytes and more."""
        (address,) = self._call(self._cudart.cudaMalloc(size), f"allocating {size / 1e6:.0f} MB")
        return int(address)

    def free(self, address: int) -> None:
        self._call(self._cudart.cudaFree(address), "freeing memory")

    def allocate_pinned(self, size: int) -> int:
        """Host memory that the GPU reads and writes without a copy in between."""
        (address,) = self._call(self._cudart.cudaMallocHost(size), "pinning host memory")
        return int(address)

    def free_pinned(self, address: int) -> None:
        self._call(self._cudart.cudaFreeHost(address), "freeing pinned memory")

    def upload(self, device: int, host: int, size: int) -> None:
        """Copy to the device, in the stream's order; the host's bytes must stay until then."""
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        result = self._cudart.cudaMemcpyAsync(device, host, size, kind, self.stream)
        self._call(result, "copying to the GPU")

    def download(self, host: int, device: int, size: int) -> None:
        """Copy to the host, in the stream's order; there once the stream is waited for."""
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        result = self._cudart.cudaMemcpyAsync(host, device, size, kind, self.stream)
        self._call(result, "copying from the GPU")

    def wait(self) -> None:
        """Return when all that was put on the stream is done."""
        self._call(self._cudart.cudaStreamSynchronize(self.stream), "waiting for the GPU")

    def capture(self, work: Callable[[], None]) -> Any:
        """Record what `work` puts on the stream as a graph, to be launched as one. Nothing runs.

        Raises:
            SessionError: something in it cannot be recorded.
        """
        cudart = self._cudart
        # Only this thread is watched: others may be opening engines, which allocates.
        mode = cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call(cudart.cudaStreamBeginCapture(self.stream, mode), "beginning a capture")
        failed = True
        try:
            work()
            failed = False
        finally:
            ended = cudart.cudaStreamEndCapture(self.stream)
            if failed and not int(ended[0]):
                cudart.cudaGraphDestroy(ended[1])
        (graph,) = self._call(ended, "ending a capture")
        try:
            instance = cudart.cudaGraphInstantiate(graph, 0)
            (executable,) = self._call(instance, "instantiating a graph")
        finally:
            cudart.cudaGraphDestroy(graph)
        return executable

    def launch(self, executable: Any) -> None:
        self._call(self._cudart.cudaGraphLaunch(executable, self.stream), "launching a graph")

    def forget(self, executable: Any) -> None:
        """Destroy a captured graph that is not running."""
        self._call(self._cudart.cudaGraphExecDestroy(executable), "destroying a graph")

    def _call(self, result: tuple[Any, ...], doing: str) -> tuple[Any, ...]:
        return checked(self._cudart, result, doing)


_MAKING = threading.Lock()


def shared_cuda() -> Cuda:
    """The process's own; every session uses it.

    Raises:
        MissingExtraError: CUDA's Python calls are not installed.
        SessionError: there is no GPU.
    """
    with _MAKING:  # engines are opened in several threads
        return _make_cuda()


@functools.cache
def _make_cuda() -> Cuda:
    return Cuda(import_cudart())


class Pinned:
    """A block of pinned host memory, freed when the last array on it is gone."""

    def __init__(self, cuda: Cuda, size: int) -> None:
        self._cuda = cuda
        self.address = cuda.allocate_pinned(size)
        self.__array_interface__ = {
            "version": 3,
            "shape": (size,),
            "typestr": "|u1",
            "data": (self.address, False),
        }

    def array(self, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """An array at `offset`; it keeps the block alive."""
        size = prod(shape) * dtype.itemsize
        return np.asarray(self)[offset : offset + size].view(dtype).reshape(shape)

    def __del__(self) -> None:
        # At the interpreter's end CUDA may be gone already, and the memory with it.
        with contextlib.suppress(SessionError, AttributeError):
            self._cuda.free_pinned(self.address)
