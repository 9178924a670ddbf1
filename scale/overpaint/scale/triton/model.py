"""Models of Triton's Python backend: the loop of a run on our runtime, and one engine.

The loop asks Triton for each engine, so that an engine is one model among Triton's, with its
instances, its place and its figures. What may be called here is Triton's `TritonPythonModel`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from overpaint.bundle.arrays import Array
from overpaint.bundle.errors import OverpaintError, SessionError, UsageError
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.manifest import Component
from overpaint.bundle.format.manifest_file import read_manifest
from overpaint.engines.backend import Asked
from overpaint.engines.backends import BACKENDS
from overpaint.engines.session.session import Session
from overpaint.runtime.components import Components
from overpaint.runtime.engines import Engines
from overpaint.runtime.pipeline import Img2Img
from overpaint.runtime.request import Request
from overpaint.runtime.settings import Settings, options

from .config import IMAGE, IMAGES, OPTIONS, PARAMETERS, PROMPT
from .graph import taken


class Loop:
    """A run: IMAGE, PROMPT and OPTIONS in, IMAGES and PARAMETERS out."""

    def initialize(self, args: Mapping[str, str]) -> None:
        import triton_python_backend_utils as triton

        self._triton, name = triton, args["model_name"]
        bundle = _bundle(args)
        components = bundle.manifest.components

        def open_session(part: str) -> Session:
            return Session(
                part, components[part], _Asked(triton, f"{name}_{part}", components[part])
            )

        self._pipe = Img2Img(Engines.of(bundle, Components((), open_session)))

    def execute(self, requests: list[Any]) -> list[Any]:
        return [_answered(self._triton, self._paint, request) for request in requests]

    def finalize(self) -> None:
        self._pipe.close()

    def _paint(self, request: Any) -> list[Any]:
        image = _input(self._triton, request, IMAGE)
        prompt = _text(self._triton, request, PROMPT)
        settings = _settings(_text(self._triton, request, OPTIONS))
        result = self._pipe.run(Request(image, prompt, settings))
        images = np.stack([np.asarray(one) for one in result.images])
        told = [one.parameters.as_json().encode() for one in result.images]
        return [
            self._triton.Tensor(IMAGES, images),
            self._triton.Tensor(PARAMETERS, np.array(told, np.object_)),
        ]


class Engine:
    """One of a bundle's engines, in a session of our own: ONNX Runtime's on the processor."""

    def initialize(self, args: Mapping[str, str]) -> None:
        import triton_python_backend_utils as triton

        self._triton, bundle = triton, _bundle(args)
        part = next(
            part
            for part, component in bundle.manifest.components.items()
            if (bundle.folder / component.graph).exists()
        )
        self._session = BACKENDS["cpu"].open_session(bundle, part, Asked())

    def execute(self, requests: list[Any]) -> list[Any]:
        return [_answered(self._triton, self._run, request) for request in requests]

    def finalize(self) -> None:
        self._session.close()

    def _run(self, request: Any) -> list[Any]:
        feed = {}
        for name, tensor in self._session.inputs.items():
            array = _input(self._triton, request, taken(tensor).name)
            feed[name] = array if tensor.shape else array.reshape(())
        given = self._session.run(feed)
        return [self._triton.Tensor(name, np.ascontiguousarray(a)) for name, a in given.items()]


class _Asked:
    """An engine that is another of Triton's models."""

    def __init__(self, triton: Any, model: str, component: Component) -> None:
        self._triton, self._model = triton, model
        self._taken = {tensor.name: taken(tensor).name for tensor in component.inputs}
        self._outputs = [tensor.name for tensor in component.outputs]

    @property
    def device(self) -> str:
        return f"Triton's {self._model}"

    def run(self, feed: Mapping[str, Array], held: Mapping[str, Array]) -> Mapping[str, Array]:
        triton = self._triton
        response = triton.InferenceRequest(
            model_name=self._model,
            requested_output_names=self._outputs,
            inputs=[
                triton.Tensor(self._taken[name], np.atleast_1d(np.ascontiguousarray(array)))
                for name, array in feed.items()
            ],
        ).exec()
        if response.has_error():
            raise SessionError(f"{self._model}: {response.error().message()}")
        return {
            name: triton.get_output_tensor_by_name(response, name).as_numpy()
            for name in self._outputs
        }

    def close(self) -> None:
        """Triton's own to close."""


def _bundle(args: Mapping[str, str]) -> Bundle:
    """What lies beside model.py: the files of a bundle that this model needs."""
    folder = Path(args["model_repository"], args["model_version"], "bundle")
    return Bundle(folder, read_manifest(folder))


def _answered(triton: Any, function: Callable[[Any], list[Any]], request: Any) -> Any:
    try:
        return triton.InferenceResponse(output_tensors=function(request))
    except OverpaintError as error:
        return triton.InferenceResponse(error=triton.TritonError(str(error)))


def _input(triton: Any, request: Any, name: str) -> Any:
    tensor = triton.get_input_tensor_by_name(request, name)
    return None if tensor is None else tensor.as_numpy()


def _text(triton: Any, request: Any, name: str) -> str:
    array = _input(triton, request, name)
    return "" if array is None or not array.size else array.reshape(-1)[0].decode()


def _settings(text: str) -> Settings:
    """OPTIONS: a JSON object of a run's options. Raises UsageError."""
    try:
        given = json.loads(text or "{}")
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise UsageError(f"{OPTIONS}: expected a JSON object of a run's options, got {text[:80]!r}")
    for name in given:
        if name not in options():
            raise UsageError(f"{OPTIONS}: {name!r} is no option of a run")
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
    }
    for name, value in values.items():
        options()[name].check(value)
    return Settings(**values)
