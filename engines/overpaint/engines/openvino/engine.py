"""One component on OpenVINO, as a session."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from importlib.metadata import version
from threading import Lock
from typing import Final

from overpaint.bundle.errors import SessionError
from overpaint.bundle.format.manifest import Component
from overpaint.bundle.tensor import Array, Tensor
from overpaint.engines.session.closing import Closing
from overpaint.engines.session.declared import by_name, check_tensors
from overpaint.engines.session.feed_check import FeedCheck
from overpaint.engines.session.protocol import Step

from .bf16 import Precision
from .engine import Engine

_LATENT_SIDES: Final = ("latent_height", "latent_width")


class OpenVinoSession(Closing):
    """One graph on OpenVINO. May be run from several threads; outputs are the caller's own.

    It is compiled for latents whose sides halve evenly all the way down, which takes less work
    (`rewrites`). When the first others come, it is compiled anew, for any size, and stays so.
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
        self._load = partial(Engine, name, graph, precision=precision, threads=threads)
        engine = self._load()
        self._engine: Engine | None = engine
        self._loading = Lock()
        self.device = f"openvino {version('openvino')} CPU {precision}"
        check_tensors(name, "input", component.inputs, engine.inputs)
        check_tensors(name, "output", component.outputs, engine.outputs)

    def run(self, feed: Mapping[str, Array]) -> Mapping[str, Array]:
        """All inputs in, all outputs out, as new arrays.

        Raises:
            FeedError: an array is not what the engine takes.
            SessionError: the engine failed, or this session is closed.
        """
        self._check.all(feed)
        return self._for(feed).run(feed)

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
            if (engine := self._for(whole)) is not holder:
                engine.hold(fixed)
                holder = engine
            return engine.run_held(feed)

        return step

    def close(self) -> None:
        """Release the engines and their memory. May be repeated."""
        self._engine = None

    def _for(self, feed: Mapping[str, Array]) -> Engine:
        """The engine, made one that is right for these sizes."""
        if _halves_evenly(self.inputs, feed, self._open().multiple):
            return self._open()
        with self._loading:
            if self._open().multiple > 1:
                self._engine = self._load(any_size=True)
            return self._open()

    def _open(self) -> Engine:
        if self._engine is None:
            raise SessionError(f"{self._name}: this session is closed")
        return self._engine


def _halves_evenly(inputs: Mapping[str, Tensor], feed: Mapping[str, Array], multiple: int) -> bool:
    return all(
        side % multiple == 0
        for name, tensor in inputs.items()
        for side, symbol in zip(feed[name].shape, tensor.shape, strict=True)
        if symbol in _LATENT_SIDES
    )
