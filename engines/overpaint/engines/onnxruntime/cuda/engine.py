"""An ONNX Runtime session on the GPU with its tensors and CUDA graphs. Lives on the CUDA thread.

What a call costs beside the kernels: inputs that changed are copied to the GPU, one launch, outputs
are copied back. Each input has its place on the GPU, one for each shape, and keeps it. Input shapes
that are met for the first time are run as they are; met again, the outputs get their places too and
the kernels are captured as a CUDA graph, which every later call of these shapes replays.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from types import ModuleType
from typing import Any, Final, TypeAlias

from overpaint.bundle.errors import SessionError
from overpaint.bundle.format.manifest import Component
from overpaint.bundle.tensor import Array, Tensor
from overpaint.engines.onnxruntime.library import said, session_options, to_load
from overpaint.engines.session.declared import by_name, check_tensors

from .buffers import DeviceTensor, HostTensor, pinned_memory
from .operators import with_kernels
from .options import CUDA, DEVICE, GRAPH_ID, GRAPHS, NO_GRAPH, Providers

_LOG = logging.getLogger(__name__)

KEPT: Final = 8  # combinations of input shapes whose tensors and graphs are kept

Shape: TypeAlias = tuple[int, ...]


@dataclass(slots=True)
class _Plan:
    """How inputs of certain shapes run. `outputs` have no places before the second run, which
    `shapes` learns in the first. `graph` is the number that ONNX Runtime knows the graph by."""

    binding: Any
    inputs: dict[str, DeviceTensor | HostTensor]
    shapes: dict[str, Shape] | None = None
    outputs: dict[str, DeviceTensor] | None = None
    graph: int | None = None


class Engine:
    """Everything here is called on the CUDA thread."""

    def __init__(
        self,
        runtime: ModuleType,
        name: str,
        graph: str,
        component: Component,
        providers: Providers,
    ) -> None:
        """Raises SessionError, as OrtCudaSession says."""
        self._runtime = runtime
        self._name = name
        self.graphs = providers[0][1].get(GRAPHS) == "1"
        self._engine: Any = self._load(graph, providers)
        check_tensors(name, "input", component.inputs, self._engine.get_inputs())
        check_tensors(name, "output", component.outputs, self._engine.get_outputs())
        self._inputs = by_name(component.inputs)
        self._outputs = by_name(component.outputs)
        self._on_host = self._inputs_on_host()
        self._pinned = pinned_memory(runtime)
        self._tensors: dict[tuple[str, Shape], DeviceTensor | HostTensor] = {}
        self._plans: OrderedDict[tuple[Shape, ...], _Plan] = OrderedDict()
        self._numbers = count(1)
        self._kept: Mapping[str, Array] | None = None

    def run(self, feed: Mapping[str, Array], constants: Mapping[str, Array]) -> Mapping[str, Array]:
        """Feed and constants in, all outputs out; constants that are there are not copied again."""
        arrays = {**constants, **feed}
        plan = self._plan_for(arrays)
        changed = feed if constants is self._kept else arrays
        for name, array in changed.items():
            plan.inputs[name].upload(array)
        self._kept = constants if constants else None
        if plan.shapes is None:
            return self._run_first(plan)
        if plan.outputs is None:
            self._settle(plan)
        self._execute(plan)
        assert plan.outputs is not None
        return {name: tensor.download() for name, tensor in plan.outputs.items()}

    def keep(self, constants: Mapping[str, Array]) -> None:
        """Copy `constants` to their places, for the runs that name this very mapping."""
        for name, array in constants.items():
            self._tensor(name, array.shape).upload(array)
        self._kept = constants

    def close(self) -> None:
        """Let go of graphs first, then of the memory they use."""
        while self._plans:
            self._forget_oldest()
        self._engine = None

    def _load(self, graph: str, providers: Providers) -> Any:
        (provider, options), *others = providers
        try:
            engine = self._create(graph, providers)
        except Exception as error:  # onnxruntime's exceptions share no base of their own
            if not self.graphs:
                message = f"{self._name}: {graph} cannot be loaded: {said(error)}"
                raise SessionError(message) from error
            # A graph that lies in part on the processor is refused; without CUDA graphs it runs.
            self.graphs = False
            engine = self._load(graph, ((provider, {**options, GRAPHS: "0"}), *others))
            _LOG.warning("%s: runs without CUDA graphs: %s", self._name, said(error))
            return engine
        if provider not in engine.get_providers():
            raise SessionError(
                f"{self._name}: onnxruntime would run this on the processor, for its {provider} "
                "did not start; overpaint info says what is missing"
            )
        return engine

    def _create(self, graph: str, providers: Providers) -> Any:
        options = session_options(self._runtime, 1)  # the processor has shapes' arithmetic to do
        first, _ = providers[0]
        model = to_load(graph, options, with_kernels) if first == CUDA else graph
        return self._runtime.InferenceSession(
            model,
            options,
            providers=[(provider, dict(options)) for provider, options in providers],
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
        # Said nothing, a session that was opened with graphs would capture one, as number 0.
        number = NO_GRAPH if plan.graph is None else str(plan.graph)
        run_options.add_run_config_entry(GRAPH_ID, number)
        try:
            self._engine.run_with_iobinding(plan.binding, run_options)
        except Exception as error:
            raise SessionError(f"{self._name}: the engine failed: {said(error)}") from error

    def _forget_oldest(self) -> None:
        """Let go of the plan used least recently: its graph, then tensors that no other needs."""
        _, plan = self._plans.popitem(last=False)
        if plan.graph is not None:
            self._engine.release_captured_graph(plan.graph)
        needed = {id(tensor) for one in self._plans.values() for tensor in one.inputs.values()}
        self._tensors = {
            key: tensor for key, tensor in self._tensors.items() if id(tensor) in needed
        }
        self._kept = None
