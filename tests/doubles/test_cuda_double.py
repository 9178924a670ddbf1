"""The double of ONNX Runtime's CUDA side can fail: each misuse gives what a GPU would give."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from tests.bundle.micro import make_micro
from tests.doubles.cuda_double import CUDA, Gpu, double


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_micro(tmp_path_factory.mktemp("b") / "micro") / "vae_decoder/model.onnx")


class Bound:
    """The decoder, its input and output in places of its own, run as graph `number`."""

    def __init__(self, gpu: Gpu, graph: str) -> None:
        self.runtime = double(gpu)
        self.engine = self.runtime.InferenceSession(
            graph, None, providers=[(CUDA, {"enable_cuda_graph": "1"})], enable_fallback=False
        )
        self.binding = self.engine.io_binding()
        self.bind(2)

    def bind(self, side: int) -> None:
        make = self.runtime.OrtValue.ortvalue_from_shape_and_type
        self.input = make((1, 4, side, side), np.float32, "cuda", 0)
        self.output = make((1, 3, side * 8, side * 8), np.float32, "cuda", 0)
        self.binding.bind_ortvalue_input("latent_sample", self.input)
        self.binding.bind_ortvalue_output("sample", self.output)

    def run(self, value: float, number: int = 1) -> Any:
        shape = self.input.numpy().shape
        self.input.update_inplace(np.full(shape, value, np.float32))
        options = self.runtime.RunOptions()
        options.add_run_config_entry("gpu_graph_id", str(number))
        self.engine.run_with_iobinding(self.binding, options)
        return self.output.numpy()


def test_a_replay_reads_and_writes_in_place(graph: str) -> None:
    bound = Bound(Gpu(), graph)
    one = bound.run(1)
    np.testing.assert_allclose(bound.run(2), 2 * one, rtol=1e-5)


def test_a_replay_takes_no_notice_of_what_is_bound_since(graph: str) -> None:
    bound = Bound(Gpu(), graph)
    bound.run(1)
    bound.bind(2)
    assert np.isnan(bound.run(5)).all()


def test_a_replay_for_another_shape_gives_nothing_of_it(graph: str) -> None:
    bound = Bound(Gpu(), graph)
    bound.run(1)
    bound.bind(4)
    assert np.isnan(bound.run(5)).all()


def test_another_thread_captures_its_own(graph: str) -> None:
    gpu = Gpu()
    bound = Bound(gpu, graph)
    bound.run(1)
    other = threading.Thread(target=bound.run, args=(2,))
    other.start()
    other.join()
    assert gpu.count("capture") == 2


def test_what_another_thread_does_spoils_a_capture(graph: str) -> None:
    gpu = Gpu(capture_seconds=0.2)
    bound = Bound(gpu, graph)
    make = bound.runtime.OrtValue.ortvalue_from_shape_and_type
    kept = []
    other = threading.Timer(0.1, lambda: kept.append(make((1,), np.float32, "cuda", 0)))
    other.start()
    with pytest.raises(RuntimeError, match="error 900"):
        bound.run(1)
    other.join()


def test_an_input_that_is_read_on_the_processor_is_copied_when_it_is_bound(graph: str) -> None:
    bound = Bound(Gpu(host_inputs=frozenset({"latent_sample"})), graph)
    bound.run(1, -1)
    assert np.isnan(bound.run(5, -1)).all()


def test_an_output_that_has_no_place_cannot_be_captured(graph: str) -> None:
    bound = Bound(Gpu(), graph)
    bound.binding.clear_binding_outputs()
    bound.binding.bind_output("sample", "cuda", 0)
    with pytest.raises(RuntimeError, match="allocation while capturing"):
        bound.run(1)


def test_memory_is_freed_with_its_last_owner_and_spoiled(graph: str) -> None:
    gpu = Gpu()
    bound = Bound(gpu, graph)
    before = gpu.live
    bound.bind(4)
    assert gpu.live == before * 4
    del bound
    assert gpu.live == 0
