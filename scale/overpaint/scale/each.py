"""A function over many items on the workers of a Ray cluster: each item once, whatever dies.

Ray Data keeps a pool of actors and begins dead ones anew, elsewhere where a node is gone; what they
had in hand is done again. So the function must be one that may be called again for the same item.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

from overpaint.bundle.errors import OverpaintError

from .workers import Workers

T = TypeVar("T")
R = TypeVar("R")

TRIES: Final = 3
"""How many workers may die over an item before it is given up."""
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
    import ray
    from ray import cloudpickle
    from ray.data import ActorPoolStrategy, DataContext, from_items

    context = DataContext.get_current()
    context.enable_progress_bars = False
    rows = [{"index": index, "item": cloudpickle.dumps(item)} for index, item in enumerate(items)]
    portions = -(-len(rows) // _portion(len(rows), workers.count))
    _quieten()
    mapped = from_items(rows, override_num_blocks=portions).map(
        _Worker,
        fn_constructor_args=(cloudpickle.dumps(make), workers.patience, _tally()),
        compute=ActorPoolStrategy(size=min(workers.count, len(rows))),
        **workers.resources(),
    )
    try:
        for row in mapped.iter_rows():
            yield row["index"], cloudpickle.loads(row["came"])
    except ray.exceptions.RayError as error:
        raise OverpaintError(f"the Ray cluster stopped working: {_reason(error)}") from error


def _portion(items: int, workers: int) -> int:
    """How many items go to a worker at a time."""
    return min(_LARGEST_PORTION, max(1, items // (workers * _PORTIONS)))


class Tally:
    """How often each item was begun and not finished. It lives beside the driver, whom no dead
    worker or node takes with it."""

    def __init__(self) -> None:
        self._begun: dict[int, int] = {}

    def begin(self, item: int) -> bool:
        """Whether it is worth another try."""
        begun = self._begun[item] = self._begun.get(item, 0) + 1
        return begun <= TRIES

    def finish(self, item: int) -> None:
        self._begun.pop(item, None)


def _tally() -> Any:
    """A handle to one."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(Tally).options(num_cpus=0, scheduling_strategy=here).remote()


class _Worker:
    """An actor. `make` is pickled, and so are the rows' items."""

    def __init__(self, make: bytes, patience: float, tally: Any) -> None:
        from ray import cloudpickle

        self._function: Callable[[Any], Any] = cloudpickle.loads(make)()
        self._patience, self._tally = patience, tally

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        from ray import cloudpickle, get

        index, came = row["index"], None
        if get(self._tally.begin.remote(index)):
            with _ended_after(self._patience):
                came = self._function(cloudpickle.loads(row["item"]))
        self._tally.finish.remote(index)
        return {"index": index, "came": cloudpickle.dumps(came)}


@contextlib.contextmanager
def _ended_after(seconds: float) -> Iterator[None]:
    """End this process if the block takes longer, even inside a library that never lets go of the
    interpreter; Ray begins another."""
    faulthandler.dump_traceback_later(seconds, exit=True, file=2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def _quieten() -> None:
    """Ray Data tells each of its steps on stderr."""
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)


def _reason(error: Exception) -> str:
    """The last line of what Ray tells, which is the cause's own."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
