"""An assembly line: each stage on a thread of its own, so that frames overlap."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Final, TypeVar

Item = TypeVar("Item")

AHEAD: Final = 2
"""Frames under way at once: one is decoded while the next is in the denoiser. On a processor a
third brings latency, and few frames (docs/live.md)."""


def over(
    items: Iterable[Item], stages: Sequence[Callable[[Any], Any]], *, ahead: int
) -> Iterator[Any]:
    """Each of `items` through all `stages`, in order, as they come: while one is in its last stage
    the next are in the stages before.

    ahead: how many are taken before the first comes out, at least 1. An exception of a stage is
    raised where its item would have come out, and ends the line.
    """
    under_way: deque[Future[Any]] = deque()
    with ExitStack() as stack:
        threads = [
            stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="live")) for _ in stages
        ]
        for item in items:
            done: Future[Any] = threads[0].submit(stages[0], item)
            for thread, stage in zip(threads[1:], stages[1:], strict=True):
                done = thread.submit(_after, done, stage)
            under_way.append(done)
            while len(under_way) >= ahead:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()


def _after(before: Future[Any], stage: Callable[[Any], Any]) -> Any:
    return stage(before.result())
