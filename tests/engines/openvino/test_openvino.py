"""OpenVINO reads the same graphs, and is a session like the others."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.bundle.micro import make_micro
from tests.conftest import FAMILIES
from tests.engines.session.test_session import feed, weights

from overpaint.bundle.arrays import NUMPY_DTYPES
from overpaint.bundle.errors import FeedError, MissingExtraError, SessionError, UsageError
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.manifest import Component
from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.installed import install_command
from overpaint.bundle.tensor import Tensor
from overpaint.engines.backend import Asked
from overpaint.engines.backends import BACKENDS
from overpaint.engines.choose import candidates, choose, open_session
from overpaint.engines.openvino import compiled
from overpaint.engines.openvino.engine import openvino_session
from overpaint.engines.session.session import Session

Array = np.ndarray[Any, Any]
SIZES = {"batch": 2, "tokens": 7, "latent_height": 8, "latent_width": 12, "references": 5}
SIZES |= {"height": 64, "width": 96}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(make_micro(tmp_path_factory.mktemp("b") / "micro"))


@pytest.fixture(scope="module")
def unet(bundle: Bundle) -> Iterator[Session]:
    with openvino_session("unet", bundle.path("unet/model.onnx"), bundle.component("unet")) as one:
        yield one


def opened(bundle: Bundle, precision: str) -> Session:
    return BACKENDS["openvino"].open_session(bundle, "unet", Asked(precision=precision))


def random_feed(component: Component) -> dict[str, Array]:
    rng = np.random.default_rng(5)
    arrays: dict[str, Array] = {}
    for tensor in component.inputs:
        shape = [size_of(component, side) for side in tensor.shape]
        values = (
            rng.standard_normal(shape) if tensor.dtype == "float32" else rng.integers(9, 30, shape)
        )
        arrays[tensor.name] = np.asarray(values, NUMPY_DTYPES[tensor.dtype])
    return arrays


def size_of(component: Component, side: int | str) -> int:
    """SIZES', or the next that the component takes."""
    if isinstance(side, int):
        return side
    multiple = component.ranges[side].multiple
    return -(-SIZES[side] // multiple) * multiple


def test_it_gives_the_numbers_that_the_weights_mean(bundle: Bundle, unet: Session) -> None:
    given = feed()
    mixed = np.einsum("oi,bihw->bohw", weights(bundle, "mix")[:, :, 0, 0], given["sample"])
    told = (given["encoder_hidden_states"] @ weights(bundle, "text")).mean(1)[:, :, None, None]
    (out,) = unet.run(given).values()
    np.testing.assert_allclose(out, mixed + told + 0.5, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_engine_of_a_family_agrees_with_onnxruntime(
    bundles: dict[str, Path], family: str
) -> None:
    whole = open_bundle(bundles[family])
    for name, component in whole.manifest.components.items():
        given = random_feed(component)
        with open_session(whole, name, "cpu") as cpu, open_session(whole, name, "openvino") as ours:
            expected, got = cpu.run(given), ours.run(given)
        assert expected.keys() == got.keys()
        for output, reference in expected.items():
            largest = np.abs(reference).max()
            assert np.abs(got[output] - reference).max() <= 2e-5 * largest, f"{name} {output}"


def test_bfloat16_is_near_and_is_taken_only_when_it_is_asked_for(bundles: dict[str, Path]) -> None:
    whole = open_bundle(bundles["sd1"])
    given = random_feed(whole.component("unet"))
    with opened(whole, "f32") as exact:
        expected = exact.run(given)["out_sample"]
    with open_session(whole, "unet", "cpu") as cpu:
        assert relative(expected, cpu.run(given)["out_sample"]) < 1e-5
    if "BF16" not in compiled.the_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(SessionError, match="does not compute in bfloat16"):
            opened(whole, "bf16")
        return
    with opened(whole, "bf16") as rounded:
        assert rounded.device.endswith("CPU bf16")
        assert 1e-4 < relative(rounded.run(given)["out_sample"], expected) < 5e-2


def relative(got: Array, expected: Array) -> float:
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


def test_a_processor_without_bfloat16_is_told(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Old:
        def get_property(self, device: str, name: str) -> list[str]:
            return ["FP32"]

    monkeypatch.setattr(compiled, "the_core", Old)
    with pytest.raises(SessionError, match=r"does not compute in bfloat16 .*use --precision f32"):
        opened(bundle, "bf16")


def test_what_is_bound_need_not_be_fed_again(unet: Session) -> None:
    given = feed()
    context = given["encoder_hidden_states"].copy()
    step = unet.bind({"encoder_hidden_states": context})
    context[:] = 0  # it was handed over when it was bound
    for time in (900, 20):
        changing = {"sample": given["sample"] * time, "timestep": np.array([time], np.float32)}
        expected = unet.run(given | changing)["out_sample"]
        np.testing.assert_array_equal(step(changing)["out_sample"], expected)


def test_a_step_says_what_does_not_fit(unet: Session) -> None:
    given = feed()
    step = unet.bind({"encoder_hidden_states": given.pop("encoder_hidden_states")})
    with pytest.raises(FeedError, match="missing 'timestep'"):
        step({"sample": given["sample"]})
    with pytest.raises(FeedError, match=r"got \(2, 4, 8, 8\) float64"):
        step(given | {"sample": given["sample"].astype(np.float64)})
    with pytest.raises(FeedError, match=r"expected \(batch, length, 8\) float32"):
        unet.bind({"encoder_hidden_states": np.zeros(3, np.float32)})


def test_outputs_are_not_overwritten_by_the_next_run(unet: Session) -> None:
    given = feed()
    step = unet.bind({"encoder_hidden_states": given.pop("encoder_hidden_states")})
    first = step(given)["out_sample"]
    kept = first.copy()
    step({**given, "timestep": np.array([1], np.float32)})
    np.testing.assert_array_equal(first, kept)


def test_arrays_may_lie_in_memory_as_they_like(unet: Session) -> None:
    given = feed()
    expected = unet.run(given)["out_sample"]
    frozen = given["sample"].copy()
    frozen.flags.writeable = False
    for sample in (frozen, np.asfortranarray(frozen), np.repeat(frozen, 2, axis=0)[::2]):
        np.testing.assert_array_equal(unet.run(given | {"sample": sample})["out_sample"], expected)


def test_sizes_may_change_from_run_to_run(unet: Session) -> None:
    for batch, side, tokens in ((1, 4, 1), (3, 16, 77), (1, 4, 1)):
        out = unet.run(feed(batch, side, tokens))["out_sample"]
        assert out.shape == (batch, 4, side, side)


def test_several_threads_may_run_one_session(unet: Session) -> None:
    feeds = [feed(batch) for batch in (1, 2, 3, 4)] * 20
    expected = [unet.run(one)["out_sample"] for one in feeds]
    with ThreadPoolExecutor(4) as pool:
        for want, got in zip(expected, pool.map(unet.run, feeds), strict=True):
            np.testing.assert_allclose(got["out_sample"], want, rtol=1e-5, atol=1e-6)


def test_a_closed_session_says_so(bundle: Bundle) -> None:
    session = open_session(bundle, "unet", "openvino")
    given = feed()
    step = session.bind({"timestep": given.pop("timestep")})
    session.close()
    session.close()
    for call in (lambda: session.run(feed()), lambda: step(given), lambda: session.bind({})):
        with pytest.raises(SessionError, match="unet: this session is closed"):
            call()


def test_a_graph_that_is_not_the_manifests_is_refused(bundle: Bundle) -> None:
    component = bundle.component("unet")
    wider = tuple(
        msgspec.structs.replace(tensor, shape=("batch", 9, "height", "width"))
        if tensor.name == "sample"
        else tensor
        for tensor in component.inputs
    )
    other = msgspec.structs.replace(component, inputs=wider)
    with pytest.raises(SessionError, match="differ in the input 'sample'"):
        openvino_session("unet", bundle.path("unet/model.onnx"), other)
    none = (Tensor(name="sample", dtype="float32", shape=("batch",)),)
    with pytest.raises(SessionError, match="differ in their inputs"):
        openvino_session(
            "unet",
            bundle.path("unet/model.onnx"),
            msgspec.structs.replace(component, inputs=none),
        )


def test_a_graph_that_cannot_be_loaded_is_one_line(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x0anot a graph\n")
    with pytest.raises(SessionError, match=r"unet: .*model\.onnx cannot be loaded: ") as caught:
        openvino_session("unet", path, bundle.component("unet"))
    assert "\n" not in str(caught.value)


def test_it_is_never_taken_unasked(bundle: Bundle) -> None:
    considered = {one.device: one for one in candidates(bundle)}
    assert considered["openvino"].available
    assert considered["openvino"].on_request
    assert choose(bundle).chosen.device != "openvino"
    assert choose(bundle, "openvino").chosen.device == "openvino"


def test_without_openvino_the_line_to_type_is_told(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled.the_core.cache_clear()
    monkeypatch.setitem(sys.modules, "openvino", None)
    line = re.escape(install_command("openvino"))
    for refused in (lambda: choose(bundle, "openvino"), lambda: opened(bundle, "f32")):
        with pytest.raises(MissingExtraError, match=line):
            refused()


def test_precision_is_openvinos_alone(bundle: Bundle) -> None:
    for device in ("auto", "cpu", "cuda"):
        with pytest.raises(UsageError, match=f"bf16 needs --device openvino; got {device}"):
            choose(bundle, device, "bf16")
    with pytest.raises(UsageError, match="--precision: expected f32, bf16 or int8; got 'fp16'"):
        choose(bundle, "openvino", "fp16")
    assert choose(bundle, "openvino", "bf16").precision == "bf16"


def test_choosing_imports_no_openvino(bundle: Bundle) -> None:
    import subprocess

    script = f"""
import re
import sys
from overpaint.bundle.format.open import open_bundle
from overpaint.engines.choose import choose
choose(open_bundle({str(bundle.folder)!r}))
assert "openvino" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)
