"""Sessions on ONNX Runtime's CUDA provider, on a double whose numbers are the CPU provider's."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.bundle.micro import make_micro
from tests.doubles.cuda_double import Gpu, double
from tests.engines.session.test_session import feed

from overpaint.bundle.errors import FeedError, SessionError
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.open import open_bundle
from overpaint.engines.onnxruntime.cpu.engine import cpu_session
from overpaint.engines.onnxruntime.cuda.engine import KEPT, cuda_session
from overpaint.engines.session.session import Session

Array = np.ndarray[Any, Any]
Open = Callable[..., Session]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(make_micro(tmp_path_factory.mktemp("b") / "micro"))


@pytest.fixture(scope="module")
def expected(bundle: Bundle) -> Callable[[dict[str, Array]], Array]:
    """What the processor makes of a feed of the denoiser."""
    session = cpu_session("unet", bundle.path("unet/model.onnx"), bundle.component("unet"))
    return lambda given: session.run(given)["out_sample"]


@pytest.fixture
def gpu() -> Gpu:
    return Gpu()


@pytest.fixture
def opened(bundle: Bundle, gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Open a component on the double; it is closed, and its memory must be free, at the end."""
    monkeypatch.setitem(sys.modules, "onnxruntime", double(gpu))
    sessions: list[Session] = []

    def make(name: str = "unet") -> Session:
        described = bundle.component(name)
        graph = bundle.folder / described.graph
        session = cuda_session(name, graph, described, where="the double")
        sessions.append(session)
        return session

    yield make
    for session in sessions:
        session.close()
    assert gpu.live == 0


def varied(time: float, **sizes: int) -> dict[str, Array]:
    given = feed(**sizes)
    return given | {"sample": given["sample"] * time, "timestep": np.array([time], np.float32)}


CONTEXT = "encoder_hidden_states"


def test_run_after_run_gives_the_processors_numbers(opened: Open, expected: Any, gpu: Gpu) -> None:
    session = opened()
    for time in range(1, 6):
        given = varied(time)
        np.testing.assert_array_equal(session.run(given)["out_sample"], expected(given))
    assert gpu.count("capture") == 1
    assert gpu.count("replay") == 3, "run one is plain, run two captures, and three replay"


def test_a_shape_that_is_used_once_is_not_captured(opened: Open, expected: Any, gpu: Gpu) -> None:
    session = opened()
    for side in (4, 8, 12):
        given = varied(2, side=side)
        np.testing.assert_array_equal(session.run(given)["out_sample"], expected(given))
    assert gpu.count("capture") == 0


def test_sizes_in_turn_each_replay_their_own_graph(opened: Open, expected: Any, gpu: Gpu) -> None:
    session = opened()
    sizes = [{"batch": 1, "side": 4}, {"batch": 2, "side": 4}, {"batch": 1, "side": 8, "tokens": 3}]
    for time in range(1, 7):
        for size in sizes:
            given = varied(time, **size)
            np.testing.assert_array_equal(session.run(given)["out_sample"], expected(given))
    assert gpu.count("capture") == len(sizes)
    assert gpu.count("replay") == 4 * len(sizes)


def test_what_is_bound_is_uploaded_once(opened: Open, expected: Any, gpu: Gpu) -> None:
    session, given = opened(), feed()
    step = session.bind({CONTEXT: given[CONTEXT]})
    for time in (900, 700, 20, 1):
        changing = {n: a for n, a in varied(time).items() if n != CONTEXT}
        np.testing.assert_array_equal(step(changing)["out_sample"], expected(given | changing))
    assert gpu.count("upload") == 1 + 4 * 2


def test_bindings_and_runs_in_between_do_not_disturb_each_other(
    opened: Open, expected: Any
) -> None:
    session = opened()
    contexts = [feed()[CONTEXT] * factor for factor in (1, -3, 10)]
    steps = [session.bind({CONTEXT: context}) for context in contexts[:2]]
    for time in (5, 4, 3, 2):
        changing = {n: a for n, a in varied(time).items() if n != CONTEXT}
        for step, context in zip(steps, contexts, strict=False):
            whole = changing | {CONTEXT: context}
            np.testing.assert_array_equal(step(changing)["out_sample"], expected(whole))
        whole = changing | {CONTEXT: contexts[2]}
        np.testing.assert_array_equal(session.run(whole)["out_sample"], expected(whole))


def test_fifty_runs_of_three_sizes_need_no_more_memory_than_ten(opened: Open, gpu: Gpu) -> None:
    session, after = opened(), {}
    for run in range(1, 51):
        for side in (4, 8, 16):
            context = feed(side=side)[CONTEXT]
            step = session.bind({CONTEXT: context})
            for time in (2, 1):
                step({n: a for n, a in varied(time, side=side).items() if n != CONTEXT})
        after[run] = gpu.live
    assert after[50] == after[10] == after[2]
    assert gpu.count("capture") == 3


def test_sizes_beyond_those_that_are_kept_give_their_memory_back(
    opened: Open, expected: Any, gpu: Gpu
) -> None:
    session, live = opened(), []
    for _ in range(2):
        for side in range(1, KEPT + 4):
            for time in (3, 2, 1):
                given = varied(time, side=side)
                np.testing.assert_array_equal(session.run(given)["out_sample"], expected(given))
        live.append(gpu.live)
    assert live[0] == live[1]
    assert gpu.count("capture") - gpu.count("release") == KEPT


def test_a_bound_context_survives_that_its_place_is_given_away(opened: Open, expected: Any) -> None:
    session, given = opened(), varied(7)
    step = session.bind({CONTEXT: given[CONTEXT]})
    changing = {n: a for n, a in given.items() if n != CONTEXT}
    for _ in range(3):
        step(changing)
    for side in range(1, KEPT + 2):
        session.run(varied(1, side=side, tokens=side))
    np.testing.assert_array_equal(step(changing)["out_sample"], expected(given))


def test_a_context_that_is_bound_where_all_places_are_taken_is_there_at_the_first_step(
    opened: Open, expected: Any
) -> None:
    session = opened()
    for tokens in range(1, KEPT + 1):
        session.run(varied(1, tokens=tokens))
    given = varied(7, tokens=50)
    step = session.bind({CONTEXT: given[CONTEXT]})
    changing = {n: a for n, a in given.items() if n != CONTEXT}
    np.testing.assert_array_equal(step(changing)["out_sample"], expected(given))


def test_threads_share_one_graph_and_get_their_own_numbers(
    opened: Open, expected: Any, gpu: Gpu
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    session = opened()
    feeds = [varied(time) for time in range(1, 40)]
    wanted = [expected(given) for given in feeds]
    with ThreadPoolExecutor(4) as pool:
        for want, got in zip(wanted, pool.map(session.run, feeds), strict=True):
            np.testing.assert_array_equal(got["out_sample"], want)
    assert gpu.count("capture") == 1


def test_an_engine_that_is_opened_meanwhile_does_not_spoil_a_capture(
    opened: Open, expected: Any, gpu: Gpu
) -> None:
    gpu.capture_seconds = 0.1
    session, given = opened(), varied(3)
    session.run(given)
    others = [threading.Timer(0.02 * i, opened, ("vae_decoder",)) for i in range(4)]
    for other in others:
        other.start()
    np.testing.assert_array_equal(session.run(given)["out_sample"], expected(given))
    for other in others:
        other.join()
    assert gpu.count("capture") == 1
    assert "without" not in session.device


def test_where_a_capture_fails_the_engine_goes_on_without_and_says_so(
    opened: Open, expected: Any, gpu: Gpu, caplog: pytest.LogCaptureFixture
) -> None:
    gpu.captures_fail = True
    session = opened()
    with caplog.at_level(logging.WARNING):
        for time in (4, 3, 2):
            given = varied(time)
            np.testing.assert_array_equal(session.run(given)["out_sample"], expected(given))
    assert session.device == "the double, without CUDA graphs"
    assert "error 900" in caplog.text
    assert gpu.count("capture") == 1, "it is not tried at every run"


def test_a_graph_that_lies_in_part_on_the_processor_runs_without_cuda_graphs(
    opened: Open, expected: Any, gpu: Gpu, caplog: pytest.LogCaptureFixture
) -> None:
    gpu.nodes_on_processor = True
    with caplog.at_level(logging.WARNING):
        session = opened()
    assert "have not been partitioned" in caplog.text
    for time in (4, 3, 2):
        given = varied(time)
        np.testing.assert_array_equal(session.run(given)["out_sample"], expected(given))
    assert session.device.endswith("without CUDA graphs")


def test_an_input_that_is_read_on_the_processor_is_renewed_at_every_run(
    opened: Open, expected: Any, gpu: Gpu
) -> None:
    gpu.host_inputs = frozenset({"timestep"})
    session = opened()
    for time in (900, 500, 20):
        given = varied(1) | {"timestep": np.array([time], np.float32)}
        np.testing.assert_array_equal(session.run(given)["out_sample"], expected(given))
    assert gpu.count("capture") == 0


def test_page_locked_memory_is_used_where_it_is_offered(
    opened: Open, expected: Any, gpu: Gpu
) -> None:
    gpu.pinned = True
    session = opened()
    for time in (4, 3, 2):
        given = varied(time)
        np.testing.assert_array_equal(session.run(given)["out_sample"], expected(given))


def test_a_provider_that_quietly_falls_back_is_refused(opened: Open, gpu: Gpu) -> None:
    gpu.provider_starts = False
    with pytest.raises(SessionError, match=r"unet: onnxruntime would run this on the processor"):
        opened()


def test_a_graph_that_cannot_be_loaded_is_one_line(
    opened: Open, bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x0anot a graph\n")
    with pytest.raises(SessionError, match=r"unet: .*model\.onnx cannot be loaded: ") as caught:
        cuda_session("unet", path, bundle.component("unet"), where="the double")
    assert "\n" not in str(caught.value)
    assert not caplog.records, "nothing is said of CUDA graphs where they are not what is wrong"


def test_a_feed_that_does_not_fit_is_said_before_the_gpu_sees_it(opened: Open, gpu: Gpu) -> None:
    session = opened()
    done = len(gpu.log)
    with pytest.raises(FeedError, match="for 'sample', got"):
        session.run(feed() | {"sample": np.zeros((2, 3, 8, 8), np.float32)})
    with pytest.raises(FeedError, match="missing 'timestep'"):
        session.bind({CONTEXT: feed()[CONTEXT]})({"sample": feed()["sample"]})
    with pytest.raises(FeedError, match=r"expected \(batch, length, 8\) float32"):
        session.bind({CONTEXT: feed()[CONTEXT][0]})
    assert gpu.log[done:].count("run") == 0


def test_an_engine_that_fails_says_which(opened: Open) -> None:
    session = opened("text_encoder")
    with pytest.raises(SessionError, match=r"text_encoder: the engine failed: .*out of"):
        session.run({"input_ids": np.full((1, 2), 100, np.int64)})
    assert session.run({"input_ids": np.zeros((1, 2), np.int64)})


def test_a_closed_session_says_so_and_holds_no_memory(opened: Open, gpu: Gpu) -> None:
    session = opened()
    for _ in range(3):
        session.run(feed())
    step = session.bind({CONTEXT: feed()[CONTEXT]})
    assert gpu.live
    session.close()
    session.close()
    assert gpu.live == 0
    with pytest.raises(SessionError, match="unet: this session is closed"):
        session.run(feed())
    with pytest.raises(SessionError, match="unet: this session is closed"):
        step({n: a for n, a in feed().items() if n != CONTEXT})


def test_half_precision_goes_through_in_half_precision(
    tmp_path: Path, gpu: Gpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx
    from onnx import TensorProto, helper

    from overpaint.bundle.format.manifest import Component
    from overpaint.bundle.tensor import Range, Tensor

    shape = ("n", 4)
    node = helper.make_node("Add", ["x", "x"], ["y"])
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT16, shape) for n in "xy"]
    opset = [helper.make_opsetid("", 20)]
    model = helper.make_model(
        helper.make_graph([node], "g", ends[:1], ends[1:]), opset_imports=opset, ir_version=10
    )
    onnx.save(model, tmp_path / "model.onnx")
    tensors = [Tensor(name=n, dtype="float16", shape=shape) for n in "xy"]
    described = Component(
        graph="model.onnx", inputs=(tensors[0],), outputs=(tensors[1],),
        ranges={"n": Range(minimum=1, maximum=9)},
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "onnxruntime", double(gpu))
    with cuda_session("half", tmp_path / "model.onnx", described, where="") as session:
        for value in (1, 2, 3):
            out = session.run({"x": np.full((2, 4), value, np.float16)})["y"]
            assert out.dtype == np.float16
            assert (out == 2 * value).all()
