"""An ONNX Runtime session on the GPU with its tensors and CUDA graphs. Lives on the CUDA thread.

What a call costs beside the kernels: inputs that changed are copied to the GPU, one launch, outputs
are copied back. Each input has its place on the GPU, one for each shape, and keeps it. Input shapes
that are met for the first time are run as they are; met again, the outputs get their places too and
the kernels are captured as a CUDA graph, which every later call of these shapes replays.
"""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from types import ModuleType
from typing import Any, Final, TypeAlias

from overpaint.bundle.arrays import Array
from overpaint.bundle.errors import SessionError
from overpaint.bundle.format.manifest import Component
from overpaint.bundle.tensor import Tensor
from overpaint.engines.onnxruntime.library import (
    import_onnxruntime,
    message_of,
    session_options,
    to_load,
)
from overpaint.engines.session.declared import check_graph
from overpaint.engines.session.engine import NOTHING, closed
from overpaint.engines.session.session import Session

from .buffers import DeviceTensor, HostTensor, pinned_memory
from .operators import with_kernels
from .options import CUDA, DEVICE, GRAPH_ID, GRAPHS, NO_GRAPH, OPTIONS
from .thread import OnCudaThread

_LOG = logging.getLogger(__name__)

KEPT: Final = 8  # combinations of input shapes whose tensors and graphs are kept

Shape: TypeAlias = tuple[int, ...]


def cuda_session(
    name: str,
    graph: str | os.PathLike[str],
    component: Component,
    options: Mapping[str, str] = OPTIONS,
    *,
    where: str,
) -> Session:
    """Load `graph`, with the weights that lie beside it.

    Args:
        name: the component's name, for messages.
        options: what the provider is told.
        where: what `start` says of it, for people.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        SessionError: the graph cannot be loaded, is not the one that the manifest describes, or
            would be run on the processor.
    """
    runtime, path = import_onnxruntime(), os.fspath(graph)
    engine = OnCudaThread(lambda: CudaEngine(runtime, name, path, component, options, where))
    return Session(name, component, engine)


@dataclass(slots=True)
class _Plan:
    """How inputs of certain shapes run. `outputs` have no places before the second run, which
    `shapes` learns in the first. `graph` is the number that ONNX Runtime knows the graph by."""

    binding: Any
    inputs: dict[str, DeviceTensor | HostTensor]
    shapes: dict[str, Shape] | None = None
    outputs: dict[str, DeviceTensor] | None = None
    graph: int | None = None


class CudaEngine:
    """Everything here is called on the CUDA thread. Outputs may be buffers that the next call
    overwrites."""

    def __init__(
        self,
        runtime: ModuleType,
        name: str,
        graph: str,
        component: Component,
        options: Mapping[str, str],
        where: str,
    ) -> None:
        self._runtime = runtime
        self._name = name
        self._where = where
        self.graphs = options.get(GRAPHS) == "1"
        self._engine: Any = self._load(graph, options)
        check_graph(name, component, self._engine.get_inputs(), self._engine.get_outputs())
        self._inputs = {tensor.name: tensor for tensor in component.inputs}
        self._outputs = {tensor.name: tensor for tensor in component.outputs}
        self._on_host = self._inputs_on_host()
        self._pinned = pinned_memory(runtime)
        self._tensors: dict[tuple[str, Shape], DeviceTensor | HostTensor] = {}
        self._plans: OrderedDict[tuple[Shape, ...], _Plan] = OrderedDict()
        self._numbers = count(1)
        self._held: Mapping[str, Array] = NOTHING  # whose arrays lie in their places

    @property
    def device(self) -> str:
        return self._where if self.graphs else f"{self._where}, without CUDA graphs"

    def run(self, feed: Mapping[str, Array], held: Mapping[str, Array]) -> Mapping[str, Array]:
        """What is held and there already is not copied again."""
        if self._engine is None:
            raise closed(self._name)
        plan = self._plan_for(feed)
        there = held if held is self._held else NOTHING
        self._held = NOTHING  # until all is in its place
        for name, array in feed.items():
            if name not in there:
                plan.inputs[name].upload(array)
        self._held = held
        if plan.shapes is None:
            return self._run_first(plan)
        if plan.outputs is None:
            self._settle(plan)
        self._execute(plan)
        assert plan.outputs is not None
        return {name: tensor.download() for name, tensor in plan.outputs.items()}

    def close(self) -> None:
        """Let go of graphs first, then of the memory they use."""
        while self._plans:
            self._forget_oldest()
        self._engine = None

    def _load(self, graph: str, options: Mapping[str, str]) -> Any:
        try:
            engine = self._create(graph, options)
        except Exception as error:  # onnxruntime's exceptions share no base of their own
            if not self.graphs:
                message = f"{self._name}: {graph} cannot be loaded: {message_of(error)}"
                raise SessionError(message) from error
            # A graph that lies in part on the processor is refused; without CUDA graphs it runs.
            self.graphs = False
            engine = self._load(graph, {**options, GRAPHS: "0"})
            _LOG.warning("%s: runs without CUDA graphs: %s", self._name, message_of(error))
            return engine
        if CUDA not in engine.get_providers():
            raise SessionError(
                f"{self._name}: onnxruntime would run this on the processor, for its {CUDA} "
                "did not start; overpaint info says what is missing"
            )
        return engine

    def _create(self, graph: str, options: Mapping[str, str]) -> Any:
        settings = session_options(self._runtime, 1)  # the processor has shapes' arithmetic to do
        return self._runtime.InferenceSession(
            to_load(graph, settings, with_kernels),
            settings,
            providers=[(CUDA, dict(options))],
            # Or it would print, and quietly take the processor.
            enable_fallback=False,
        )

    def _inputs_on_host(self) -> frozenset[str]:
        """Inputs that kernels read on the processor. A binding copies them there when it is made,
        and no later: they must be bound where they are read. A captured graph would not read them
        at all."""
        engine = self._engine
        places = zip(engine.get_inputs(), engine.get_input_memory_infos(), strict=True)
        found = frozenset(one.name for one, memory in places if memory.name == "Cpu")
        if found and self.graphs:
            _LOG.warning("%s: runs without CUDA graphs: it reads %s on the processor",
                         self._name, ", ".join(sorted(found)))  # fmt: skip
            self.graphs = False
        return found

    def _tensor(self, name: str, shape: Shape) -> DeviceTensor | HostTensor:
        key = name, shape
        if key not in self._tensors:
            tensor = self._inputs[name]
            self._tensors[key] = (
                HostTensor(self._runtime, tensor, shape)
                if name in self._on_host
                else self._on_device(tensor, shape)
            )
        return self._tensors[key]

    def _on_device(self, tensor: Tensor, shape: Shape) -> DeviceTensor:
        return DeviceTensor(self._runtime, tensor, shape, self._pinned)

    def _plan_for(self, arrays: Mapping[str, Array]) -> _Plan:
        key = tuple(arrays[name].shape for name in self._inputs)
        if (plan := self._plans.get(key)) is not None:
            self._plans.move_to_end(key)
            return plan
        if len(self._plans) == KEPT:
            self._forget_oldest()
        binding = self._engine.io_binding()
        inputs = {name: self._tensor(name, array.shape) for name, array in arrays.items()}
        for name, tensor in inputs.items():
            binding.bind_ortvalue_input(name, tensor.value)
        for name in self._outputs:
            binding.bind_output(name, "cuda", int(DEVICE))
        self._plans[key] = _Plan(binding, inputs)
        return self._plans[key]

    def _run_first(self, plan: _Plan) -> Mapping[str, Array]:
        """ONNX Runtime says how large the outputs are, and keeps no memory for shapes used once."""
        self._call(plan)
        arrays = {
            name: value.numpy()
            for name, value in zip(self._outputs, plan.binding.get_outputs(), strict=True)
        }
        plan.shapes = {name: array.shape for name, array in arrays.items()}
        plan.binding.clear_binding_outputs()
        return arrays

    def _settle(self, plan: _Plan) -> None:
        """Give outputs their places, and from here on a graph."""
        assert plan.shapes is not None
        plan.outputs = {
            name: self._on_device(self._outputs[name], shape) for name, shape in plan.shapes.items()
        }
        for name, tensor in plan.outputs.items():
            plan.binding.bind_ortvalue_output(name, tensor.value)
        if self.graphs:
            plan.graph = next(self._numbers)

    def _execute(self, plan: _Plan) -> None:
        try:
            self._call(plan)
        except SessionError as error:
            if plan.graph is None:
                raise
            _LOG.warning("%s; trying again without a CUDA graph", str(error))
            plan.graph = None
            self.graphs = False
            self._call(plan)

    def _call(self, plan: _Plan) -> None:
        run_options = self._runtime.RunOptions()
        # Unless told otherwise, a session that was opened with graphs captures one, as number 0.
        number = NO_GRAPH if plan.graph is None else str(plan.graph)
        run_options.add_run_config_entry(GRAPH_ID, number)
        try:
            self._engine.run_with_iobinding(plan.binding, run_options)
        except Exception as error:
            raise SessionError(f"{self._name}: the engine failed: {message_of(error)}") from error

    def _forget_oldest(self) -> None:
        """Let go of the plan used least recently: its graph, then tensors that no other needs."""
        _, plan = self._plans.popitem(last=False)
        if plan.graph is not None:
            self._engine.release_captured_graph(plan.graph)
        needed = {id(tensor) for one in self._plans.values() for tensor in one.inputs.values()}
        self._tensors = {
            key: tensor for key, tensor in self._tensors.items() if id(tensor) in needed
        }
        self._held = NOTHING
