"""One exact shape of one engine: its context, its buffers, and its CUDA graph.

Addresses are set once. The first run is plain, for TensorRT settles then what it puts off; from the
second on, the engine and the copies of its outputs are one recorded graph. What was recorded is for
this shape and these addresses, and nothing else is ever replayed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from overpaint.bundle.arrays import NUMPY_DTYPES, Array
from overpaint.bundle.errors import SessionError
from overpaint.bundle.format.manifest import Component
from overpaint.bundle.tensor import Tensor
from overpaint.engines.session.engine import NOTHING

from .cuda import ALIGNMENT, Cuda, Pinned
from .loaded import LoadedPlan
from .logger import message_of
from .shapes import Shapes

if TYPE_CHECKING:
    import tensorrt as trt

_LOG = logging.getLogger(__name__)


class Execution:
    """Ready to run one exact shape of an engine. The caller holds the GPU's lock throughout.

    activation_bytes: what it needs of the arena.
    """

    def __init__(
        self,
        name: str,
        cuda: Cuda,
        loaded: LoadedPlan,
        component: Component,
        context: trt.IExecutionContext | None,
        index: int,
        inputs: Shapes,
        *,
        weights: Mapping[str, int],
        capturable: bool,
    ) -> None:
        """Ready `context` for `inputs`, which profile `index` takes.

        Args:
            weights: the device addresses of inputs that stay as they are.

        Raises:
            SessionError: it cannot be, or memory is short.
        """
        self._name = name
        self._cuda = cuda
        self._log = loaded.log
        self._context = self._readied(context, index, inputs)
        self.activation_bytes = int(self._context.update_device_memory_size_for_shapes())
        self._generation = -1
        self._graph: Any = None
        self._capturable = capturable
        self.held: Mapping[str, Array] = NOTHING  # whose arrays lie in the input buffers
        shapes = {**inputs, **self._output_shapes(component.outputs)}
        tensors = (*component.inputs, *component.outputs)
        offsets, size = _layout(tensors, shapes)
        pinned = Pinned(cuda, size)  # which frees itself, should there be no room on the device
        self._device = cuda.allocate(size)
        self._host = pinned.address
        self._arrays = {
            tensor.name: pinned.array(
                offsets[tensor.name], shapes[tensor.name], NUMPY_DTYPES[tensor.dtype]
            )
            for tensor in tensors
        }
        self._offsets = offsets
        self._outputs = {tensor.name: self._arrays[tensor.name] for tensor in component.outputs}
        ours = {tensor_name: self._device + offset for tensor_name, offset in offsets.items()}
        for tensor_name, address in (ours | dict(weights)).items():
            if not self._context.set_tensor_address(tensor_name, address):
                raise self._failed(f"takes no address for {tensor_name!r}")

    def upload(self, names: Iterable[str], feed: Mapping[str, Array]) -> None:
        """Put the named inputs on their way to the device."""
        for name in names:
            array = self._arrays[name]
            np.copyto(array, feed[name])
            offset = self._offsets[name]
            self._cuda.upload(self._device + offset, self._host + offset, array.nbytes)

    def run(self) -> Mapping[str, Array]:
        """Run the engine; the outputs are buffers that the next run overwrites."""
        arena = self._cuda.arena
        if self._generation != arena.generation:
            self._forget_graph()
            self._context.set_device_memory(arena.address, arena.size)
            self._generation = arena.generation
            self._work()  # TensorRT must have run once, with this memory, before it is recorded
        elif self._graph is None and self._capturable:
            self._record()
            self._launch()
        else:
            self._launch()
        self._cuda.wait()
        return self._outputs

    def close(self) -> None:
        """Free the buffers and the graph. May be repeated."""
        self._forget_graph()
        if self._device:
            self._cuda.free(self._device)
            self._device = 0
        self._arrays, self._outputs = {}, {}  # what a caller still holds keeps its own memory

    def _readied(
        self, context: trt.IExecutionContext | None, index: int, inputs: Shapes
    ) -> trt.IExecutionContext:
        if context is None:
            raise self._failed("gives no execution context")
        if not context.set_optimization_profile_async(index, int(self._cuda.stream)):
            raise self._failed(f"does not take its own profile {index}")
        for name, shape in inputs.items():
            if not context.set_input_shape(name, shape):
                raise self._failed(f"does not take {shape} for {name!r}")
        if missing := context.infer_shapes():
            raise self._failed(f"lacks the shapes of {', '.join(missing)}")
        return context

    def _output_shapes(self, outputs: Iterable[Tensor]) -> dict[str, tuple[int, ...]]:
        shapes = {
            tensor.name: tuple(self._context.get_tensor_shape(tensor.name)) for tensor in outputs
        }
        for name, shape in shapes.items():
            if -1 in shape:
                raise self._failed(f"does not know the shape of its output {name!r}")
        return shapes

    def _work(self) -> None:
        """Put the engine and the copies of its outputs on the stream."""
        if not self._context.execute_async_v3(int(self._cuda.stream)):
            raise self._failed("failed")
        for name, array in self._outputs.items():
            offset = self._offsets[name]
            self._cuda.download(self._host + offset, self._device + offset, array.nbytes)

    def _record(self) -> None:
        try:
            self._graph = self._cuda.capture(self._work)
        except SessionError as error:
            self._capturable = False
            _LOG.warning("%s: runs without a CUDA graph: %s", self._name, error)

    def _launch(self) -> None:
        if self._graph is None:
            self._work()
        else:
            self._cuda.launch(self._graph)

    def _forget_graph(self) -> None:
        if self._graph is not None:
            self._cuda.forget(self._graph)
            self._graph = None

    def _failed(self, what: str) -> SessionError:
        return SessionError(f"{self._name}: the TensorRT engine {what}: {message_of(self._log)}")


def _layout(
    tensors: Iterable[Tensor], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, int], int]:
    """Where each tensor lies in one block, and the block's size."""
    offsets, end = {}, 0
    for tensor in tensors:
        offsets[tensor.name] = end
        size = prod(shapes[tensor.name]) * NUMPY_DTYPES[tensor.dtype].itemsize
        end += -(-max(size, 1) // ALIGNMENT) * ALIGNMENT
    return offsets, end
