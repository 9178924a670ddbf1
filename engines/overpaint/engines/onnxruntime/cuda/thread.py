"""The one thread on which everything that touches CUDA through ONNX Runtime is done.

ONNX Runtime keeps a captured CUDA graph with the thread that captured it: another thread would
capture its own, in memory of its own. And while one thread captures, an allocation or a copy from
any other makes the capture fail (cudaStreamCaptureModeGlobal), whichever session it belongs to. A
GPU runs one thing after the other anyway, so one thread costs a hand-over and rules out both.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_here = threading.local()


def _mark() -> None:
    _here.is_cuda = True


_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="cuda", initializer=_mark)


def on_cuda_thread(work: Callable[[], T]) -> T:
    """Return what `work` returns, or raise what it raises; it waits its turn."""
    if getattr(_here, "is_cuda", False):
        return work()
    return _thread.submit(work).result()
