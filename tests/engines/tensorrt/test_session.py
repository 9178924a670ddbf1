"""Sessions on TensorRT, on a double that refuses or reports whatever is not done right."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.bundle.micro import make_micro
from tests.doubles.cudart_double import CudartDouble, MisuseError
from tests.doubles.tensorrt_double import TensorRTDouble
from tests.doubles.tensorrt_here import Here, built
from tests.doubles.tensorrt_here import here as here

from overpaint.bundle.errors import FeedError, SessionError
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.open import open_bundle
from overpaint.engines.choose import open_session
from overpaint.engines.session.session import Session
from overpaint.engines.tensorrt.cuda import shared_cuda
from overpaint.engines.tensorrt.served import pieces

Array = np.ndarray[Any, Any]
SHAPES = ("1x64x64", "1x64x128")


@pytest.fixture
def bundle(here: Here, tmp_path: Path) -> Bundle:
    """The micro bundle with plans for two sizes."""
    made = open_bundle(make_micro(tmp_path / "micro"))
    built(made, SHAPES)
    return open_bundle(made.folder)


@pytest.fixture
def unet(bundle: Bundle) -> Iterator[Session]:
    with open_session(bundle, "unet", "tensorrt") as session:
        yield session


@pytest.fixture
def reference(bundle: Bundle) -> Iterator[Session]:
    with open_session(bundle, "unet", "cpu") as session:
        yield session


def feed(batch: int = 2, height: int = 8, width: int = 8, seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {
        "sample": rng.standard_normal((batch, 4, height, width)).astype(np.float32),
        "timestep": np.array([seed], np.float32),
        "encoder_hidden_states": rng.standard_normal((batch, 77, 8)).astype(np.float32),
    }


def copied(outputs: Mapping[str, Array]) -> dict[str, Array]:
    return {name: array.copy() for name, array in outputs.items()}


def test_it_gives_the_numbers_of_the_graph(unet: Session, reference: Session) -> None:
    for batch, width, seed in ((2, 8, 1), (1, 16, 2), (2, 16, 3), (1, 8, 4), (2, 8, 5)):
        given = feed(batch, 8, width, seed)
        expected = reference.run(given)["out_sample"]
        np.testing.assert_array_equal(unet.run(given)["out_sample"], expected)


def test_every_shape_is_ready_before_the_first_request(unet: Session, here: Here) -> None:
    captures = here.cuda.counts["capture"]
    assert captures == 4  # two sizes, with and without guidance
    unet.run(feed())
    assert here.cuda.counts["capture"] == captures


def test_a_call_waits_once_and_launches_one_graph(unet: Session, here: Here) -> None:
    before = dict(here.cuda.counts)
    unet.run(feed())
    assert here.cuda.counts["wait"] == before["wait"] + 1
    assert here.cuda.counts["launch"] == before["launch"] + 1


def test_memory_does_not_grow_run_after_run(unet: Session, here: Here) -> None:
    before = here.cuda.in_use("device"), here.cuda.in_use("pinned"), here.cuda.graphs
    for seed in range(5):
        unet.run(feed(1 + seed % 2, 8, 8 * (1 + seed % 2), seed))
    assert (here.cuda.in_use("device"), here.cuda.in_use("pinned"), here.cuda.graphs) == before


def test_what_is_bound_goes_to_the_device_once(
    unet: Session, reference: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads: list[int] = []
    upload = shared_cuda().upload
    monkeypatch.setattr(
        shared_cuda(), "upload", lambda to, of, size: (uploads.append(size), upload(to, of, size))
    )
    given = feed()
    step = unet.bind({"encoder_hidden_states": given["encoder_hidden_states"]})
    for seed in (1, 2, 3):
        changing = {**feed(seed=seed)}
        del changing["encoder_hidden_states"]
        expected = reference.run({**given, **changing})["out_sample"]
        np.testing.assert_array_equal(step(changing)["out_sample"], expected)
    sizes = {name: array.nbytes for name, array in given.items()}
    each = [sizes["sample"], sizes["timestep"]] * 3
    assert sorted(uploads) == sorted([sizes["encoder_hidden_states"], *each])


def test_two_bindings_may_take_turns(unet: Session, reference: Session) -> None:
    one, two = feed(seed=1), feed(seed=2)
    steps = [unet.bind({"encoder_hidden_states": f["encoder_hidden_states"]}) for f in (one, two)]
    for _ in range(2):
        for step, given in zip(steps, (one, two), strict=True):
            changing = {name: given[name] for name in ("sample", "timestep")}
            expected = reference.run(given)["out_sample"]
            np.testing.assert_array_equal(step(changing)["out_sample"], expected)
    unet.run(feed(seed=3))  # overwrites what was bound
    changing = {name: one[name] for name in ("sample", "timestep")}
    expected = reference.run(one)["out_sample"]
    np.testing.assert_array_equal(steps[0](changing)["out_sample"], expected)


@pytest.mark.parametrize(
    ("batch", "served", "cut"),
    [
        (8, (1, 2), [2, 2, 2, 2]),
        (3, (1, 2), [2, 1]),
        (3, (2,), []),
        (1, (2,), []),
        (6, (2, 4), [4, 2]),
        (2, (), []),
    ],
)
def test_batches_are_cut_into_those_that_are_served(
    batch: int, served: tuple[int, ...], cut: list[int]
) -> None:
    assert [one.stop - one.start for one in pieces(batch, served)] == cut


def test_a_larger_batch_is_run_in_pieces(unet: Session, reference: Session) -> None:
    for batch in (3, 8):
        given = feed(batch)
        expected = _piecewise(reference, given)
        np.testing.assert_array_equal(unet.run(given)["out_sample"], expected)
    step = unet.bind({"encoder_hidden_states": given["encoder_hidden_states"]})
    changing = {name: given[name] for name in ("sample", "timestep")}
    np.testing.assert_array_equal(step(changing)["out_sample"], expected)


def _piecewise(reference: Session, given: dict[str, Array]) -> Array:
    """What the CPU gives for two at a time: kernels round differently for other batches."""
    parts = []
    for start in range(0, len(given["sample"]), 2):
        part = {n: a[start : start + 2] if n != "timestep" else a for n, a in given.items()}
        parts.append(reference.run(part)["out_sample"])
    return np.concatenate(parts)


def test_a_size_that_was_not_built_names_those_that_were_and_the_nearest(
    unet: Session, bundle: Bundle
) -> None:
    with pytest.raises(FeedError) as caught:
        unet.run(feed(1, 9, 17))
    message = str(caught.value)
    assert message == (
        "unet: its TensorRT plan is for pictures of 64x64, 128x64, not 136x72. Ask for --size "
        f"128x64, or build 136x72 too: overpaint build {bundle.folder} --engine tensorrt --force "
        "--shape 1x64x64 --shape 1x64x128 --shape 1x72x136; or take --device cuda or cpu"
    )


def test_a_longer_text_is_said_to_be_one(unet: Session) -> None:
    given = feed()
    given["encoder_hidden_states"] = np.zeros((2, 100, 8), np.float32)
    with pytest.raises(FeedError, match="prompt chunks need --device cuda or cpu"):
        unet.run(given)


def test_a_wrong_array_is_named_before_the_engine_sees_it(unet: Session) -> None:
    with pytest.raises(FeedError, match=r"expected .* float32 for 'sample', got .* float64"):
        unet.run({**feed(), "sample": np.zeros((2, 4, 8, 8))})


def test_engines_share_the_memory_of_their_activations(bundle: Bundle, here: Here) -> None:
    sessions = [open_session(bundle, name, "tensorrt") for name in bundle.manifest.components]
    arena = shared_cuda().arena
    assert arena.size == 2 * 4096  # the greediest's, once
    generation = arena.generation
    for session in sessions[:-1]:
        session.close()
    assert (arena.size, arena.generation) == (2 * 4096, generation)
    sessions[-1].close()
    assert here.cuda.in_use("device") == 0
    assert here.cuda.in_use("pinned") == 0
    assert here.cuda.graphs == 0


def test_engines_that_are_opened_at_once_have_one_stream(here: Here) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: shared_cuda(), range(32)))) == 1


def test_graphs_are_recorded_anew_when_the_shared_memory_moves(
    unet: Session, reference: Session, here: Here
) -> None:
    captures = here.cuda.counts["capture"]
    with shared_cuda().lock:
        shared_cuda().arena.join("a greedier engine", 1 << 20)
    given = feed(seed=6)
    expected = reference.run(given)["out_sample"]
    for _ in range(3):
        np.testing.assert_array_equal(unet.run(given)["out_sample"], expected)
    assert here.cuda.counts["capture"] == captures + 1
    shared_cuda().arena.leave("a greedier engine")


def test_an_engine_that_cannot_be_recorded_runs_without_a_graph_and_says_so(
    bundle: Bundle, here: Here, reference: Session, caplog: pytest.LogCaptureFixture
) -> None:
    here.cuda.refuses_capture = True
    with (
        caplog.at_level(logging.WARNING),
        open_session(bundle, "unet", "tensorrt") as session,
    ):
        assert "unet: runs without a CUDA graph: CUDA failed while beginning" in caplog.text
        given = feed(seed=7)
        expected = reference.run(given)["out_sample"]
        np.testing.assert_array_equal(session.run(given)["out_sample"], expected)
    assert "launch" not in here.cuda.counts


def test_what_is_still_held_after_closing_is_memory_that_is_still_there(
    bundle: Bundle, here: Here
) -> None:
    session = open_session(bundle, "unet", "tensorrt")
    held = session.run(feed())["out_sample"]
    kept = held.copy()
    session.close()
    assert here.cuda.in_use("pinned")
    np.testing.assert_array_equal(held, kept)
    del held
    assert not here.cuda.in_use("pinned")


def test_a_closed_session_says_so(unet: Session) -> None:
    unet.close()
    unet.close()
    with pytest.raises(SessionError, match="unet: this session is closed"):
        unet.run(feed())


def test_a_gpu_without_room_is_told_as_such(bundle: Bundle, here: Here) -> None:
    here.cuda.memory = 1000
    with pytest.raises(SessionError, match="CUDA failed while allocating"):
        open_session(bundle, "unet", "tensorrt")
    assert here.cuda.in_use("device") == 0


def test_a_plan_with_other_tensors_than_the_manifest_is_refused(bundle: Bundle, here: Here) -> None:
    folder = next((bundle.folder / "plans").iterdir())
    (folder / "unet.plan").write_bytes((folder / "vae_decoder.plan").read_bytes())
    with pytest.raises(SessionError, match="its tensors are latent_sample, sample, and the manif"):
        open_session(bundle, "unet", "tensorrt")


def test_a_plan_that_tensorrt_refuses_is_told_with_its_reason(bundle: Bundle) -> None:
    folder = next((bundle.folder / "plans").iterdir())
    (folder / "unet.plan").write_bytes(b"something else entirely")
    with pytest.raises(SessionError, match="cannot load this plan: Magic tag does not match"):
        open_session(bundle, "unet", "tensorrt")


# The double itself: what must fail does.


def test_the_double_reports_a_graph_that_is_replayed_in_another_shape(here: Here) -> None:
    cuda, context, stream = _context(here)
    cuda.cudaStreamBeginCapture(stream, cuda.cudaStreamCaptureMode(1))
    assert context.execute_async_v3(stream)
    _, graph = cuda.cudaStreamEndCapture(stream)
    context.set_tensor_address("sample", cuda.cudaMalloc(4096)[1])
    cuda.cudaGraphLaunch(graph, stream)
    with pytest.raises(MisuseError, match="recorded in another shape, or with other addresses"):
        cuda.cudaStreamSynchronize(stream)


def test_the_double_reports_memory_that_was_freed(here: Here) -> None:
    cuda, context, stream = _context(here)
    cuda.cudaFree(context._memory[0])
    assert context.execute_async_v3(stream)
    with pytest.raises(MisuseError, match="not allocated"):
        cuda.cudaStreamSynchronize(stream)


def test_the_double_refuses_an_address_that_was_never_set(here: Here) -> None:
    _, context, stream = _context(here)
    del context._addresses["timestep"]
    assert not context.execute_async_v3(stream)


def test_the_double_refuses_a_capture_before_the_first_run(here: Here) -> None:
    cuda, context, stream = _context(here)
    context.set_input_shape("sample", (1, 4, 8, 8))
    cuda.cudaStreamBeginCapture(stream, cuda.cudaStreamCaptureMode(1))
    assert not context.execute_async_v3(stream)


def test_the_double_computes_nothing_before_it_is_waited_for(here: Here) -> None:
    cuda, context, stream = _context(here)
    out = context._addresses["out_sample"]
    assert context.execute_async_v3(stream)
    before = cuda.read(out, 4)
    cuda.cudaStreamSynchronize(stream)
    assert before == b"\xff" * 4 != cuda.read(out, 4)


def _context(here: Here) -> tuple[CudartDouble, Any, int]:
    """An execution context of the micro UNet that has run once, made by hand."""
    import tempfile

    trt: TensorRTDouble = here.trt
    log = trt.ILogger()
    builder = trt.Builder(log)
    network = builder.create_network(0)
    with tempfile.TemporaryDirectory() as folder:
        bundle = make_micro(Path(folder) / "micro")
        assert trt.OnnxParser(network, log).parse_from_file(str(bundle / "unet/model.onnx"))
    shapes = {"sample": (1, 4, 8, 8), "timestep": (1,), "encoder_hidden_states": (1, 77, 8)}
    for tensor in network._inputs:
        tensor.shape = shapes[tensor.name]
    plan = builder.build_serialized_network(network, builder.create_builder_config())
    engine = trt.Runtime(log).deserialize_cuda_engine(plan)
    context = engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
    _, stream = here.cuda.cudaStreamCreateWithFlags(1)
    for name in (*shapes, "out_sample"):
        _, address = here.cuda.cudaMalloc(4096)
        here.cuda.fill(address, 4096, 0)
        context.set_tensor_address(name, address)
    context.set_device_memory(here.cuda.cudaMalloc(8192)[1], 8192)
    assert context.execute_async_v3(stream)
    here.cuda.cudaStreamSynchronize(stream)
    here.cuda.fill(context._addresses["out_sample"], 4096, 0xFF)
    return here.cuda, context, stream
