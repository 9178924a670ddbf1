"""A session: one engine, as a function on arrays.

    with open_session(bundle, "unet") as session:
        step = session.bind({"encoder_hidden_states": context})     # the same through a loop
        noise = step({"sample": x, "timestep": t})["out_sample"]    # what changes per step

Names, dtypes and shapes are checked against the engine's own metadata before it runs, so that the
message names the tensor instead of a kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol, TypeAlias

from overpaint.bundle.tensor import Array, Tensor

Step: TypeAlias = Callable[[Mapping[str, Array]], Mapping[str, Array]]


class Session(AbstractContextManager["Session", None], Protocol):
    """What every engine offers. Outputs may be buffers that the next call reuses: copy to keep."""

    @property
    def inputs(self) -> Mapping[str, Tensor]: ...

    @property
    def outputs(self) -> Mapping[str, Tensor]: ...

    @property
    def device(self) -> str:
        """What runs it, for people: `onnxruntime CPU`, `TensorRT 11.4 on H200`, …"""
        ...

    def run(self, feed: Mapping[str, Array]) -> Mapping[str, Array]:
        """All inputs in, all outputs out."""
        ...

    def bind(self, constants: Mapping[str, Array]) -> Step:
        """Fix some inputs; the returned function takes the rest. A new binding ends it."""
        ...

    def close(self) -> None: ...
