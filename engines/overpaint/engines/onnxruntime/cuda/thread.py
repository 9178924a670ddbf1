"""The one thread on which everything that touches CUDA through ONNX Runtime is done.

ONNX Runtime keeps a captured CUDA graph with the thread that captured it: another thread would
capture its own, in memory of its own. And while one thread captures, an allocation or a copy from
any other makes the capture fail (cudaStreamCaptureModeGlobal), whichever session it belongs to. A
GPU runs one thing after the other anyway, so one thread costs a hand-over and rules out both.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from overpaint.bundle.arrays import Array
from overpaint.engines.session.engine import Engine

T = TypeVar("T")
E = TypeVar("E", bound=Engine)

_here = threading.local()


def _mark() -> None:
    _here.is_cuda = True


_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="cuda", initializer=_mark)


def on_cuda_thread(work: Callable[[], T]) -> T:
    """Return what `work` returns, or raise what it raises; it waits its turn."""
    if getattr(_here, "is_cuda", False):
        return work()
    return _thread.submit(work).result()


class OnCudaThread(Generic[E]):
    """An engine that is made, run and closed on the CUDA thread. From several threads, calls take
    turns."""

    def __init__(self, make: Callable[[], E]) -> None:
        self.engine = on_cuda_thread(make)

    @property
    def device(self) -> str:
        return self.engine.device

    def run(self, feed: Mapping[str, Array], held: Mapping[str, Array]) -> Mapping[str, Array]:
        return on_cuda_thread(lambda: self.engine.run(feed, held))

    def close(self) -> None:
        on_cuda_thread(self.engine.close)
