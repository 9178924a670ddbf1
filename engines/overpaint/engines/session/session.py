"""A session: one engine, as a function on arrays.

    with open_session(bundle, "unet") as session:
        step = session.bind({"encoder_hidden_states": context})     # the same through a loop
        noise = step({"sample": x, "timestep": t})["out_sample"]    # what changes per step

Names, dtypes and shapes are checked before the engine runs, so that the message names the tensor
instead of a kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

from overpaint.bundle.arrays import Array
from overpaint.bundle.errors import FeedError
from overpaint.bundle.format.manifest import Component
from overpaint.bundle.tensor import Tensor

from .closing import Closing
from .engine import NOTHING, Engine, closed
from .feed_check import FeedCheck

Step: TypeAlias = Callable[[Mapping[str, Array]], Mapping[str, Array]]


class Session(Closing):
    """An engine whose feeds are checked, and that can be closed.

    Outputs may be buffers that the next call reuses: copy to keep. `run` may be called from several
    threads, the steps of a binding from one at a time; where an engine can do one thing at a time
    only, calls take turns.
    """

    def __init__(self, name: str, component: Component, engine: Engine) -> None:
        """`name` is the component's, for messages."""
        self.inputs = _by_name(component.inputs)
        self.outputs = _by_name(component.outputs)
        self._name = name
        self._check = FeedCheck(name, self.inputs, component.ranges)
        self._engine: Engine | None = engine
        self._last_device = engine.device

    @property
    def device(self) -> str:
        """What runs it, for people, or did until it was closed."""
        engine = self._engine
        return self._last_device if engine is None else engine.device

    def run(self, feed: Mapping[str, Array]) -> Mapping[str, Array]:
        """All inputs in, all outputs out.

        Raises:
            FeedError: an array is not what the engine takes.
            SessionError: the engine failed, or this session is closed.
        """
        self._check.all(feed)
        if (engine := self._engine) is None:
            raise closed(self._name)
        return engine.run(feed, NOTHING)

    def bind(self, constants: Mapping[str, Array]) -> Step:
        """Fix some inputs, of which copies are made; the returned function takes the rest and runs.

        A GPU gets the copies at the first step. What a `run` or another binding puts in their place
        is put right at the next.

        Raises:
            FeedError: a constant is not what the engine takes.
            SessionError: this session is closed.
        """
        self._check.some(constants)
        if self._engine is None:
            raise closed(self._name)
        held = {name: array.copy() for name, array in constants.items()}
        rest = len(self.inputs) - len(held)

        def step(feed: Mapping[str, Array]) -> Mapping[str, Array]:
            if len(feed) != rest and (twice := [repr(name) for name in feed if name in held]):
                raise FeedError(f"{self._name}: {', '.join(twice)} is bound, and fed all the same")
            whole = {**held, **feed}
            self._check.all(whole)
            if (engine := self._engine) is None:
                raise closed(self._name)
            return engine.run(whole, held)

        return step

    def close(self) -> None:
        """Release the engine and its memory. May be repeated."""
        engine, self._engine = self._engine, None
        if engine is not None:
            self._last_device = engine.device
            engine.close()


def _by_name(tensors: tuple[Tensor, ...]) -> Mapping[str, Tensor]:
    return MappingProxyType({tensor.name: tensor for tensor in tensors})
