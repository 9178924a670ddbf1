"""A graph on OpenVINO's CPU plugin, compiled as its sizes need.

session = openvino_session("unet", bundle.path("unet/model.onnx"), bundle.component("unet"))
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from importlib.metadata import version
from threading import Lock
from typing import Final

from overpaint.bundle.arrays import Array
from overpaint.bundle.format.manifest import Component
from overpaint.engines.session.declared import check_graph
from overpaint.engines.session.session import Session

from .compiled import Compiled

_LATENT_SIDES: Final = ("latent_height", "latent_width")


def openvino_session(
    name: str,
    graph: str | os.PathLike[str],
    component: Component,
    *,
    precision: str = "f32",
    threads: int | None = None,
) -> Session:
    """Load `graph`, with the weights that lie beside it.

    Args:
        name: the component's name, for messages.
        precision: "f32" or "bf16", what matrix products and convolutions are computed in. Tensors
            go in and come out as the graph declares them, whatever it is.
        threads: worker threads; None: every core it may use.

    Raises:
        MissingExtraError: openvino is not installed.
        SessionError: the graph cannot be loaded, is not the one that the manifest describes, or
            the processor has no bfloat16.
    """
    return Session(name, component, OpenVinoEngine(name, graph, component, precision, threads))


class OpenVinoEngine:
    """May be run from several threads, with what is held from one; outputs are the caller's own.

    The graph is compiled for latents whose sides halve evenly all the way down, which takes less
    work (`rewrites`). When the first others come, it is compiled anew, for any size, and stays so.
    """

    def __init__(
        self,
        name: str,
        graph: str | os.PathLike[str],
        component: Component,
        precision: str,
        threads: int | None,
    ) -> None:
        self._compile = partial(Compiled, name, graph, precision=precision, threads=threads)
        self._compiled = self._compile()
        self._compiling = Lock()
        self._inputs = component.inputs
        self.device = f"openvino {version('openvino')} CPU {precision}"
        check_graph(name, component, self._compiled.inputs, self._compiled.outputs)

    def run(self, feed: Mapping[str, Array], held: Mapping[str, Array]) -> Mapping[str, Array]:
        compiled = self._compiled_for(feed)
        return compiled.run_held(feed, held) if held else compiled.run(feed)

    def close(self) -> None:
        """Nothing to do: OpenVINO's memory goes with its objects, and those with this."""

    def _compiled_for(self, feed: Mapping[str, Array]) -> Compiled:
        """What is compiled, made anew where that is not right for these sizes."""
        if self._halves_evenly(feed, self._compiled.multiple):
            return self._compiled
        with self._compiling:
            if self._compiled.multiple > 1:
                self._compiled = self._compile(any_size=True)
            return self._compiled

    def _halves_evenly(self, feed: Mapping[str, Array], multiple: int) -> bool:
        return all(
            side % multiple == 0
            for tensor in self._inputs
            for side, symbol in zip(feed[tensor.name].shape, tensor.shape, strict=True)
            if symbol in _LATENT_SIDES
        )
