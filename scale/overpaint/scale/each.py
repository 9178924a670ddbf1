"""A function over many items on the workers of a Ray cluster: each item once, whatever dies.

Ray Data keeps a pool of actors and begins dead ones anew, elsewhere where a node is gone; what they
had in hand is done again. So the function must be one that may be called again for the same item.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

from overpaint.bundle.errors import OverpaintError

from .workers import Workers

T = TypeVar("T")
R = TypeVar("R")

TRIES: Final = 3
"""How often a worker may die over an item before the item is given up."""
_PORTIONS: Final = 16
_LARGEST_PORTION: Final = 64


def each(
    make: Callable[[], Callable[[T], R]], items: Sequence[T], workers: Workers
) -> Iterator[tuple[int, R | None]]:
    """Yield the index of each item and what a worker made of it, in the order in which they come.

    make: called once in each worker; opens what the function that it returns needs. Both it and
    the items are sent by cloudpickle. None comes of an item over which workers died `TRIES` times.

    Raises:
        OverpaintError: `make` failed in a worker, or the cluster is gone.
    """
    left = set(range(len(items)))
    # A worker that dies takes its portion with it: whatever is left is tried once more, alone.
    for portion in (_portion(len(items), workers.count), 1):
        for index, came in _pass(make, items, sorted(left), workers, portion):
            if index in left:
                left.remove(index)
                yield index, came
        if not left:
            return
    for index in sorted(left):
        yield index, None


def _portion(items: int, workers: int) -> int:
    """How many items go to a worker at a time."""
    return min(_LARGEST_PORTION, max(1, items // (workers * _PORTIONS)))


def _pass(
    make: Callable[[], Callable[[T], R]],
    items: Sequence[T],
    due: Sequence[int],
    workers: Workers,
    portion: int,
) -> Iterator[tuple[int, R]]:
    import ray
    from ray import cloudpickle
    from ray.data import ActorPoolStrategy, DataContext, from_items

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # a portion that is given up is missed at the end
    rows = [{"index": index, "item": cloudpickle.dumps(items[index])} for index in due]
    with _quiet():
        mapped = from_items(rows, override_num_blocks=-(-len(rows) // portion)).map(
            _Worker,
            fn_constructor_args=(cloudpickle.dumps(make), workers.patience),
            compute=ActorPoolStrategy(size=min(workers.count, len(rows))),
            max_restarts=-1,
            max_task_retries=TRIES - 1,
            **workers.resources(),
        )
    try:
        for row in mapped.iter_rows():
            yield row["index"], cloudpickle.loads(row["came"])
    except ray.exceptions.RayError as error:
        raise OverpaintError(f"the Ray cluster stopped working: {_reason(error)}") from error


class _Worker:
    """An actor. `make` is pickled, and so are the rows' items."""

    def __init__(self, make: bytes, patience: float) -> None:
        from ray import cloudpickle

        self._function: Callable[[Any], Any] = cloudpickle.loads(make)()
        self._patience = patience

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """A worker that hangs, even inside a library that never lets go of the interpreter, ends
        itself, and Ray begins it anew."""
        from ray import cloudpickle

        faulthandler.dump_traceback_later(self._patience, exit=True, file=2)
        try:
            came = self._function(cloudpickle.loads(row["item"]))
        finally:
            faulthandler.cancel_dump_traceback_later()
        return {"index": row["index"], "came": cloudpickle.dumps(came)}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Ray Data tells each of its steps on stderr, and that it will name some options otherwise."""
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _reason(error: Exception) -> str:
    """The last line of what Ray tells, which is the cause's own."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
