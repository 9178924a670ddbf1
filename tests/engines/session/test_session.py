"""A session is a function on arrays; what it cannot take is said in the tensors' own names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.bundle.micro import make_micro

from overpaint.bundle.arrays import NUMPY_DTYPES
from overpaint.bundle.errors import BundleError, FeedError, SessionError
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.manifest import Component
from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.tensor import Range, Tensor
from overpaint.engines.choose import open_session
from overpaint.engines.onnxruntime.cpu.engine import cpu_session
from overpaint.engines.session.feed_check import FeedCheck
from overpaint.engines.session.session import Session

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(make_micro(tmp_path_factory.mktemp("b") / "micro"))


@pytest.fixture(scope="module")
def unet(bundle: Bundle) -> Iterator[Session]:
    with cpu_session("unet", bundle.path("unet/model.onnx"), bundle.component("unet")) as session:
        yield session


def feed(batch: int = 2, side: int = 8, tokens: int = 5) -> dict[str, Array]:
    rng = np.random.default_rng(3)
    return {
        "sample": rng.standard_normal((batch, 4, side, side), np.float32),
        "timestep": np.array([500], np.float32),
        "encoder_hidden_states": rng.standard_normal((batch, tokens, 8), np.float32),
    }


def weights(bundle: Bundle, name: str) -> Array:
    from safetensors.numpy import load_file

    return load_file(bundle.folder / "unet/weights.safetensors")[name]


def test_a_session_gives_the_numbers_that_its_weights_mean(bundle: Bundle, unet: Session) -> None:
    given = feed()
    mixed = np.einsum("oi,bihw->bohw", weights(bundle, "mix")[:, :, 0, 0], given["sample"])
    told = (given["encoder_hidden_states"] @ weights(bundle, "text")).mean(1)[:, :, None, None]
    (out,) = unet.run(given).values()
    np.testing.assert_allclose(out, mixed + told + 0.5, rtol=1e-5, atol=1e-5)


def test_every_engine_of_a_bundle_opens_by_name(bundle: Bundle) -> None:
    for name in bundle.manifest.components:
        session = open_session(bundle, name)
        assert session.device.startswith("onnxruntime ")
        assert set(session.outputs) == {t.name for t in bundle.component(name).outputs}
        session.close()
    with pytest.raises(BundleError, match="no component 'transformer'"):
        open_session(bundle, "transformer")


def test_what_is_bound_need_not_be_fed_again(unet: Session) -> None:
    given = feed()
    step = unet.bind({"encoder_hidden_states": given["encoder_hidden_states"]})
    for time in (900, 20):
        changing = {"sample": given["sample"] * time, "timestep": np.array([time], np.float32)}
        expected = unet.run(given | changing)["out_sample"]
        np.testing.assert_array_equal(step(changing)["out_sample"], expected)


def test_outputs_are_not_overwritten_by_the_next_run(unet: Session) -> None:
    first = unet.run(feed())["out_sample"]
    kept = first.copy()
    unet.run({**feed(), "timestep": np.array([1], np.float32)})
    np.testing.assert_array_equal(first, kept)


def test_sizes_may_change_from_run_to_run(unet: Session) -> None:
    for batch, side, tokens in ((1, 4, 1), (3, 16, 77), (1, 4, 1)):
        out = unet.run(feed(batch, side, tokens))["out_sample"]
        assert out.shape == (batch, 4, side, side)


GOOD = feed()
SAMPLE, CONTEXT = GOOD["sample"], GOOD["encoder_hidden_states"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"sample": np.zeros((4, 64, 64))},
            "unet: expected (batch, 4, height, width) float32 for 'sample', "
            "got (4, 64, 64) float64",
        ),
        ({"sample": SAMPLE.astype(np.float16)}, "got (2, 4, 8, 8) float16"),
        ({"sample": SAMPLE.astype(">f4")}, "got (2, 4, 8, 8) >f4"),
        ({"sample": SAMPLE[:, :3]}, "for 'sample', got (2, 3, 8, 8) float32"),
        ({"sample": SAMPLE.tolist()}, "got a list; convert it with numpy.asarray"),
        ({"timestep": np.float32(3)}, "(1,) float32 for 'timestep', got a float32"),
        ({"timestep": None}, "got a NoneType"),
        ({"sample": SAMPLE[:0]}, "expected batch of 1 to 128 in 'sample', got 0"),
        ({"sample": np.zeros((2, 4, 129, 8), np.float32)}, "expected height of 1 to 128"),
        (
            {"encoder_hidden_states": CONTEXT[:1]},
            "expected one batch in all inputs, got 2 in 'sample' and 1 in 'encoder_hidden_states'",
        ),
        ({"tiemstep": SAMPLE}, "unknown input 'tiemstep'; it takes 'sample', 'timestep', 'encod"),
    ],
)
def test_a_feed_that_does_not_fit_is_said_in_the_tensors_names(
    unet: Session, change: dict[str, Any], says: str
) -> None:
    unet.run(GOOD)
    with pytest.raises(FeedError) as caught:
        unet.run(GOOD | change)
    assert says in str(caught.value)
    unet.run(GOOD)


def test_a_missing_input_is_named(unet: Session) -> None:
    given = feed()
    del given["timestep"]
    with pytest.raises(FeedError, match="missing 'timestep'; it takes 'sample', 'timestep'"):
        unet.run(given)


def test_a_constant_that_does_not_fit_is_said_when_it_is_bound(unet: Session) -> None:
    with pytest.raises(FeedError, match=r"expected \(batch, length, 8\) float32"):
        unet.bind({"encoder_hidden_states": CONTEXT[0]})


def test_a_range_in_multiples_says_so() -> None:
    tensor = Tensor(name="sample", dtype="float32", shape=("height", 1))
    ranges = {"height": Range(minimum=8, maximum=128, multiple=8)}
    check = FeedCheck("unet", {"sample": tensor}, ranges)
    with pytest.raises(FeedError, match=r"height of 8 to 128 in multiples of 8 in 'sample', got 9"):
        check.all({"sample": np.zeros((9, 1), np.float32)})


SHAPES = st.lists(st.integers(0, 4), max_size=5).map(tuple)
DTYPES = st.sampled_from(list(NUMPY_DTYPES.values()))


@settings(max_examples=300, deadline=None)
@given(shape=SHAPES, dtype=DTYPES, warm=st.booleans())
def test_a_feed_passes_exactly_when_dtype_and_shape_are_declared(
    shape: tuple[int, ...], dtype: np.dtype[Any], warm: bool
) -> None:
    tensor = Tensor(name="x", dtype="float32", shape=("n", 2, "n"))
    check = FeedCheck("e", {"x": tensor}, {"n": Range(minimum=1, maximum=3)})
    if warm:
        check.all({"x": np.zeros((3, 2, 3), np.float32)})
    right = (
        dtype == np.float32
        and len(shape) == 3
        and shape[1] == 2
        and shape[0] == shape[2]
        and 1 <= shape[0] <= 3
    )
    array = np.zeros(shape, dtype)
    if right:
        check.all({"x": array})
    else:
        with pytest.raises(FeedError):
            check.all({"x": array})


def test_a_closed_session_says_so(bundle: Bundle) -> None:
    session = open_session(bundle, "unet")
    session.close()
    session.close()
    with pytest.raises(SessionError, match="unet: this session is closed"):
        session.run(feed())


def changed(bundle: Bundle, **fields: Any) -> Component:
    return msgspec.structs.replace(bundle.component("unet"), **fields)


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ((("sample", "float32", ("batch", 4, "height", "width")),), "differ in their inputs"),
        (
            (
                ("sample", "float16", ("batch", 4, "height", "width")),
                ("timestep", "float32", (1,)),
                ("encoder_hidden_states", "float32", ("batch", "length", 8)),
            ),
            "differ in the input 'sample': float16",
        ),
        (
            (
                ("sample", "float32", ("batch", 9, "height", "width")),
                ("timestep", "float32", (1,)),
                ("encoder_hidden_states", "float32", ("batch", "length", 8)),
            ),
            "differ in the input 'sample'",
        ),
    ],
)
def test_a_graph_that_is_not_the_manifests_is_refused(
    bundle: Bundle, inputs: tuple[Any, ...], says: str
) -> None:
    tensors = tuple(Tensor(name=n, dtype=d, shape=s) for n, d, s in inputs)
    with pytest.raises(SessionError, match=says):
        cpu_session("unet", bundle.path("unet/model.onnx"), changed(bundle, inputs=tensors))


def test_a_graph_that_cannot_be_loaded_is_one_line(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x0anot a graph\n")
    with pytest.raises(SessionError, match=r"unet: .*model\.onnx cannot be loaded: ") as caught:
        cpu_session("unet", path, bundle.component("unet"))
    assert "\n" not in str(caught.value)


def test_an_engine_that_fails_says_which(bundle: Bundle) -> None:
    """Token 100 of a table of 100: the graph's own check."""
    session = open_session(bundle, "text_encoder")
    with pytest.raises(SessionError, match=r"text_encoder: the engine failed: .*out of") as caught:
        session.run({"input_ids": np.full((1, 2), 100, np.int64)})
    assert "\n" not in str(caught.value)
    assert session.run({"input_ids": np.zeros((1, 2), np.int64)})


def test_several_threads_may_run_one_session(unet: Session) -> None:
    from concurrent.futures import ThreadPoolExecutor

    feeds = [feed(batch) for batch in (1, 2, 3, 4)] * 20
    expected = [unet.run(one)["out_sample"] for one in feeds]
    with ThreadPoolExecutor(4) as pool:
        for want, got in zip(expected, pool.map(unet.run, feeds), strict=True):
            np.testing.assert_allclose(got["out_sample"], want, rtol=1e-5, atol=1e-6)
