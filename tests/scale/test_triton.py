"""A model repository says of itself what Triton reads, and paints what the bundle paints.

Triton itself is played here by a double of its Python backend's module, which asks the engines as
Triton would: by their models' names, through ONNX Runtime or our own class.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from overpaint.bundle.errors import OutputExistsError, UsageError
from overpaint.bundle.format.open import open_bundle
from overpaint.runtime import Img2Img
from overpaint.runtime.default_bundle import EMBEDDED
from overpaint.scale.triton.repository import BACKENDS, write_repository

GREY = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


@dataclass
class Tensor:
    name: str
    array: Any

    def as_numpy(self) -> Any:
        return self.array


@dataclass
class Answer:
    output_tensors: list[Tensor] = field(default_factory=list)
    error: Any = None

    def has_error(self) -> bool:
        return self.error is not None


class Triton(ModuleType):
    """`triton_python_backend_utils` over a repository: sizes and types are held to config.pbtxt."""

    Tensor, InferenceResponse, TritonError = Tensor, Answer, str

    def __init__(self, repository: Path) -> None:
        super().__init__("triton_python_backend_utils")
        self.repository = repository
        self.models: dict[str, Callable[[list[Tensor]], Answer]] = {}

    def open(self, name: str) -> Callable[[list[Tensor]], Answer]:
        folder = self.repository / name
        config = read_config(folder)
        if config.backend == "onnxruntime":
            session = onnxruntime.InferenceSession(folder / "1/model.onnx")
            outputs = [one.name for one in session.get_outputs()]

            def ask(inputs: list[Tensor]) -> Answer:
                given = session.run(outputs, {one.name: one.array for one in inputs})
                return Answer([Tensor(*one) for one in zip(outputs, given, strict=True)])

            return ask
        spec = spec_from_file_location(f"{name}_model", folder / "1/model.py")
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        model = module.TritonPythonModel()
        model.initialize(
            {"model_name": name, "model_repository": str(folder), "model_version": "1"}
        )
        return lambda inputs: model.execute([inputs])[0]  # type: ignore[no-any-return]

    def infer(self, name: str, inputs: list[Tensor]) -> Answer:
        config = read_config(self.repository / name)
        known = {one.name: one for one in config.input}
        for one in inputs:
            assert len(known[one.name].dims) == one.array.ndim > 0, one.name
            wanted = zip(known[one.name].dims, one.array.shape, strict=True)
            assert all(size in (-1, got) for size, got in wanted), one.name
        assert {one.name for one in config.input if not one.optional} <= {i.name for i in inputs}
        if name not in self.models:
            self.models[name] = self.open(name)
        return self.models[name](inputs)

    def InferenceRequest(  # noqa: N802
        self, *, model_name: str, requested_output_names: list[str], inputs: list[Tensor]
    ) -> Any:
        @dataclass
        class Asked:
            triton: Triton

            def exec(self) -> Answer:
                return self.triton.infer(model_name, inputs)

        return Asked(self)

    @staticmethod
    def get_input_tensor_by_name(request: list[Tensor], name: str) -> Tensor | None:
        return next((one for one in request if one.name == name), None)

    @staticmethod
    def get_output_tensor_by_name(answer: Answer, name: str) -> Tensor | None:
        return next((one for one in answer.output_tensors if one.name == name), None)


def read_config(model: Path) -> Any:
    return text_format.Parse(
        (model / "config.pbtxt").read_text("utf-8"), model_config_pb2.ModelConfig()
    )


@pytest.fixture(params=BACKENDS)
def triton(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Triton:
    write_repository(open_bundle(EMBEDDED), tmp_path, "painter", request.param)
    double = Triton(tmp_path)
    monkeypatch.setitem(sys.modules, double.__name__, double)
    return double


def words(prompt: str, **options: object) -> list[Tensor]:
    told = json.dumps(options).encode()
    return [
        Tensor("PROMPT", np.array([prompt.encode()], np.object_)),
        Tensor("OPTIONS", np.array([told], np.object_)),
    ]


def test_the_loop_paints_what_the_bundle_paints(triton: Triton) -> None:
    asked = words("winter", steps=2, strength=1.0, size=[64, 64], seed=7, n=2)
    answer = triton.infer("painter", [Tensor("IMAGE", GREY), *asked])
    images, parameters = (one.array for one in answer.output_tensors)
    with Img2Img.open(EMBEDDED, device="cpu") as pipe:
        own = pipe(GREY, "winter", steps=2, strength=1.0, size=(64, 64), seed=7, n=2)
    assert np.array_equal(images, np.stack([np.asarray(one) for one in own.images]))
    assert [json.loads(one)["seed"] for one in parameters] == [7, 8]


def test_every_config_is_a_model_config_that_names_its_files(triton: Triton) -> None:
    for folder in triton.repository.iterdir():
        config = read_config(folder)
        assert config.name == folder.name
        assert config.max_batch_size == 0
        assert all(one.dims for one in [*config.input, *config.output])
        file = "model.onnx" if config.backend == "onnxruntime" else "model.py"
        assert (folder / "1" / file).is_file()
    assert len(list(triton.repository.iterdir())) == 5


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (b'{"stepz": 3}', "'stepz' is no option of a run"),
        (b"[1]", "expected a JSON object"),
        (b'{"steps": 0}', "steps"),
        (b'{"steps": 2}', "size"),  # text to image needs one
    ],
)
def test_what_is_asked_wrongly_is_answered_in_one_line(
    triton: Triton, options: bytes, says: str
) -> None:
    asked = [words("winter")[0], Tensor("OPTIONS", np.array([options], np.object_))]
    answer = triton.infer("painter", asked)
    assert says in str(answer.error)
    assert len(str(answer.error).splitlines()) == 1


def test_nothing_is_overwritten_and_odd_words_are_refused(tmp_path: Path) -> None:
    bundle = open_bundle(EMBEDDED)
    write_repository(bundle, tmp_path, "painter", "python")
    with pytest.raises(OutputExistsError, match="painter: exists already"):
        write_repository(bundle, tmp_path, "painter", "python")
    with pytest.raises(UsageError, match="--backend: expected onnxruntime or python"):
        write_repository(bundle, tmp_path, "other", "tensorflow")
    with pytest.raises(UsageError, match="--name"):
        write_repository(bundle, tmp_path, "../evil", "python")
