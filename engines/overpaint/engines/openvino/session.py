"""One component on OpenVINO, as a session."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from importlib.metadata import version

from ..by_size import BySize
from ..closing import Closing
from ..errors import SessionError
from ..feed_check import FeedCheck
from ..graph_metadata import by_name, check_tensors
from ..manifest import Component, Tensor
from ..precision import Precision
from ..session import Array, Step
from .engine import Engine


class OpenVinoSession(Closing):
    """One graph on OpenVINO. May be run from several threads; outputs are the caller's own.

    It is compiled for latents whose sides halve evenly all the way down, which takes less work
    (`rewrites`); for others a second time, when the first of them comes.
    """

    def __init__(
        self,
        name: str,
        graph: str | os.PathLike[str],
        component: Component,
        *,
        precision: Precision = "f32",
        threads: int | None = None,
    ) -> None:
        """Load `graph`, with the weights that lie beside it.

        Args:
            name: the component's name, for messages.
            precision: what matrix products and convolutions are computed in. Tensors go in and come
                out as the graph declares them, whatever it is.
            threads: worker threads; None: every core it may use.

        Raises:
            MissingExtraError: openvino is not installed.
            SessionError: the graph cannot be loaded, is not the one that the manifest describes,
                or the processor has no bfloat16.
        """
        self.inputs: Mapping[str, Tensor] = by_name(component.inputs)
        self.outputs: Mapping[str, Tensor] = by_name(component.outputs)
        self._name = name
        self._check = FeedCheck(name, self.inputs, component.ranges)
        load = partial(Engine, name, graph, precision=precision, threads=threads)
        even = load()
        self._engines: BySize[Engine] | None = BySize(
            self.inputs, even, even.multiple, partial(load, any_size=True)
        )
        self.device = f"openvino {version('openvino')} CPU {precision}"
        check_tensors(name, "input", component.inputs, even.inputs)
        check_tensors(name, "output", component.outputs, even.outputs)

    def run(self, feed: Mapping[str, Array]) -> Mapping[str, Array]:
        """All inputs in, all outputs out, as new arrays.

        Raises:
            FeedError: an array is not what the engine takes.
            SessionError: the engine failed, or this session is closed.
        """
        self._check.all(feed)
        return self._open().pick(feed).run(feed)

    def bind(self, constants: Mapping[str, Array]) -> Step:
        """Fix some inputs; the returned function takes the rest and runs, in one thread at a time.

        The constants are copied here. A new binding ends the one before.

        Raises:
            FeedError: a constant is not what the engine takes.
            SessionError: this session is closed.
        """
        self._check.some(constants)
        self._open()
        fixed = {name: array.copy() for name, array in constants.items()}
        holder: Engine | None = None

        def step(feed: Mapping[str, Array]) -> Mapping[str, Array]:
            nonlocal holder
            whole = {**fixed, **feed}
            self._check.all(whole)
            if (engine := self._open().pick(whole)) is not holder:
                engine.hold(fixed)
                holder = engine
            return engine.run_held(feed)

        return step

    def close(self) -> None:
        """Release the engines and their memory. May be repeated."""
        self._engines = None

    def _open(self) -> BySize[Engine]:
        if self._engines is None:
            raise SessionError(f"{self._name}: this session is closed")
        return self._engines
