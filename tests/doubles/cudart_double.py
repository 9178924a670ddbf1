# ruff: noqa: N801, N802, N815 - the names are CUDA's
"""CUDA's runtime calls on host memory, as strict as the real ones are unforgiving.

Nothing runs before it is waited for; device memory starts as rubbish and ends as rubbish; a copy
from memory that is freed, too small or not pinned is a `MisuseError`. Names and arguments are those
of cuda.bindings.runtime, which test_tensorrt_bindings holds against the real module.
"""

from __future__ import annotations

import ctypes
import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Op = Callable[[], None]


class MisuseError(AssertionError):
    """What on a GPU is a crash, or a wrong picture."""


class cudaError_t(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorNoDevice = 100
    cudaErrorStreamCaptureUnsupported = 900


class cudaMemcpyKind(enum.IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class cudaStreamCaptureMode(enum.IntEnum):
    cudaStreamCaptureModeThreadLocal = 1


@dataclass
class Properties:
    name: bytes
    major: int
    minor: int
    totalGlobalMem: int


@dataclass
class Stream:
    waiting: list[Op] = field(default_factory=list)
    captured: list[Op] | None = None


SUCCESS = cudaError_t.cudaSuccess


class CudartDouble:
    """Stands for the module cuda.bindings.runtime; `counts` says how often what was called."""

    cudaError_t = cudaError_t
    cudaMemcpyKind = cudaMemcpyKind
    cudaStreamCaptureMode = cudaStreamCaptureMode
    cudaStreamNonBlocking = 1

    def __init__(self, name: str = "NVIDIA Double", capability: tuple[int, int] = (9, 0)) -> None:
        self.name, self.capability = name, capability
        self.devices = 1
        self.driver = 13000
        self.memory = 24 << 30
        self.counts: dict[str, int] = {}
        self.refuses_capture = False
        self._blocks: dict[int, tuple[np.ndarray[Any, Any], int, str]] = {}
        self._graveyard: list[np.ndarray[Any, Any]] = []
        self._streams: dict[int, Stream] = {}
        self._graphs: dict[int, list[Op]] = {}
        self._handles = iter(range(1, 1 << 30))

    # Memory

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        return self._allocate(size, "device")

    def cudaFree(self, devPtr: int) -> tuple[Any, ...]:
        return self._free(devPtr, "device")

    def cudaMallocHost(self, size: int) -> tuple[Any, ...]:
        return self._allocate(size, "pinned")

    def cudaFreeHost(self, ptr: int) -> tuple[Any, ...]:
        return self._free(ptr, "pinned")

    def cudaMemGetInfo(self) -> tuple[Any, ...]:
        return SUCCESS, self.memory - self.in_use("device"), self.memory

    def in_use(self, kind: str) -> int:
        """Bytes of that kind that are allocated."""
        return sum(size for _, size, what in self._blocks.values() if what == kind)

    def check(self, address: int, size: int, kind: str) -> None:
        """Raise MisuseError unless `size` bytes at `address` are allocated memory of that kind."""
        for start, (_, length, what) in self._blocks.items():
            if start <= address and address + size <= start + length:
                if what != kind:
                    raise MisuseError(f"{address:#x} is {what} memory, not {kind} memory")
                return
        raise MisuseError(f"{size} bytes at {address:#x} are not allocated")

    def read(self, address: int, size: int) -> bytes:
        """What lies there, as nobody may look at it on a GPU."""
        return ctypes.string_at(address, size)

    def fill(self, address: int, size: int, byte: int) -> None:
        """Write `byte` there, at once."""
        ctypes.memset(address, byte, size)

    def _allocate(self, size: int, kind: str) -> tuple[Any, ...]:
        self._count(f"allocate {kind}")
        if self.in_use("device") + size > self.memory:
            return cudaError_t.cudaErrorMemoryAllocation, 0
        block = np.full(size + 256, 0xFF, np.uint8)  # as float32: not a number
        address = -(-block.ctypes.data // 256) * 256
        self._blocks[address] = (block, size, kind)
        return SUCCESS, address

    def _free(self, address: int, kind: str) -> tuple[Any, ...]:
        if self._blocks.get(address, (None, 0, ""))[2] != kind:
            raise MisuseError(f"{address:#x} is not {kind} memory to be freed")
        block, _, _ = self._blocks.pop(address)
        block[:] = 0xFF
        self._graveyard.append(block)  # a stale view reads rubbish, and does not crash the tests
        return (SUCCESS,)

    # Streams

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        handle = next(self._handles)
        self._streams[handle] = Stream()
        return SUCCESS, handle

    def cudaMemcpyAsync(
        self, dst: int, src: int, count: int, kind: cudaMemcpyKind, stream: int
    ) -> tuple[Any, ...]:
        up = kind == cudaMemcpyKind.cudaMemcpyHostToDevice
        host, device = (src, dst) if up else (dst, src)

        def copy() -> None:
            self.check(device, count, "device")
            self.check(host, count, "pinned")
            ctypes.memmove(dst, src, count)

        self.enqueue(stream, copy)
        return (SUCCESS,)

    def cudaStreamSynchronize(self, stream: int) -> tuple[Any, ...]:
        self._count("wait")
        of = self._streams[int(stream)]
        if of.captured is not None:
            return (cudaError_t.cudaErrorStreamCaptureUnsupported,)
        while of.waiting:
            of.waiting.pop(0)()
        return (SUCCESS,)

    def enqueue(self, stream: int, op: Op) -> None:
        """Put `op` on the stream, or into the graph that is being captured from it."""
        of = self._streams[int(stream)]
        (of.waiting if of.captured is None else of.captured).append(op)

    def capturing(self, stream: int) -> bool:
        return self._streams[int(stream)].captured is not None

    # Graphs

    def cudaStreamBeginCapture(self, stream: int, mode: cudaStreamCaptureMode) -> tuple[Any, ...]:
        self._count("capture")
        if self.refuses_capture:
            return (cudaError_t.cudaErrorStreamCaptureUnsupported,)
        self._streams[int(stream)].captured = []
        return (SUCCESS,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[Any, ...]:
        of = self._streams[int(stream)]
        if of.captured is None:
            return cudaError_t.cudaErrorStreamCaptureUnsupported, None
        handle, ops, of.captured = next(self._handles), of.captured, None
        self._graphs[handle] = ops
        return SUCCESS, handle

    def cudaGraphInstantiate(self, graph: int, flags: int) -> tuple[Any, ...]:
        handle = next(self._handles)
        self._graphs[handle] = list(self._graphs[graph])
        return SUCCESS, handle

    def cudaGraphDestroy(self, graph: int) -> tuple[Any, ...]:
        del self._graphs[graph]
        return (SUCCESS,)

    def cudaGraphExecDestroy(self, graphExec: int) -> tuple[Any, ...]:
        del self._graphs[graphExec]
        return (SUCCESS,)

    def cudaGraphLaunch(self, graphExec: int, stream: int) -> tuple[Any, ...]:
        self._count("launch")
        if graphExec not in self._graphs:
            raise MisuseError("this graph was destroyed")
        for op in self._graphs[graphExec]:
            self.enqueue(stream, op)
        return (SUCCESS,)

    @property
    def graphs(self) -> int:
        """How many graphs exist."""
        return len(self._graphs)

    # The device

    def cudaGetDeviceCount(self) -> tuple[Any, ...]:
        return (SUCCESS, self.devices) if self.devices else (cudaError_t.cudaErrorNoDevice, None)

    def cudaGetDeviceProperties(self, device: int) -> tuple[Any, ...]:
        major, minor = self.capability
        return SUCCESS, Properties(self.name.encode(), major, minor, self.memory)

    def cudaDriverGetVersion(self) -> tuple[Any, ...]:
        return SUCCESS, self.driver

    def cudaGetErrorString(self, error: cudaError_t) -> tuple[Any, ...]:
        return SUCCESS, cudaError_t(error).name.encode()

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1
