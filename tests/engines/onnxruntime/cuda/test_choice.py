"""When the CUDA provider is chosen, and what is said where it is not."""

from __future__ import annotations

import ctypes
import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest
from tests.bundle.micro import make_micro
from tests.doubles.cuda_double import CPU, Gpu, double

from overpaint.bundle.errors import SessionError
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.installed import install_command
from overpaint.engines.backend import Asked, Candidate
from overpaint.engines.backends import BACKENDS
from overpaint.engines.choose import candidates, choose, open_session
from overpaint.engines.host import nvidia
from overpaint.engines.host.nvidia import NoGpuError, free_memory, gpu_name
from overpaint.engines.onnxruntime.cuda import start as starting

Install = Callable[..., Gpu]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(make_micro(tmp_path_factory.mktemp("b") / "micro"))


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """A machine with a GPU called Double, and an onnxruntime that behaves as told."""

    def with_gpu(**behaviour: Any) -> Gpu:
        gpu = Gpu(**behaviour)
        monkeypatch.setitem(sys.modules, "onnxruntime", double(gpu))
        monkeypatch.setattr(starting, "gpu_name", lambda: "Double")
        return gpu

    return with_gpu


def cuda(bundle: Bundle) -> Candidate:
    return next(one for one in candidates(bundle) if one.device == "cuda")


def test_where_the_provider_starts_it_is_chosen_before_the_processor(
    bundle: Bundle, install: Install
) -> None:
    install()
    decision = choose(bundle)
    assert decision.chosen.device == "cuda"
    assert decision.chosen.why.endswith("CUDA on Double")
    assert [one.device for one in decision.passed_over] == ["tensorrt", "tensorrt-rtx"]
    with open_session(bundle, "unet", decision) as session:
        assert session.device == decision.chosen.why


def test_the_provider_is_tried_once_a_process(bundle: Bundle, install: Install) -> None:
    gpu = install()
    for _ in range(3):
        choose(bundle)
    assert gpu.count("open") == 1


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        (
            {"available": (CPU,)},
            "has no CUDAExecutionProvider: pip uninstall onnxruntime, then pip",
        ),
        (
            {"missing_libraries": ("libcublas.so.13", "libcudart.so.13")},
            "CUDA's libraries are not found (libcublas.so.13, libcudart.so.13): "
            + install_command("cuda"),
        ),
        ({"provider_starts": False}, "does not start, and onnxruntime does not say why"),
    ],
)
def test_where_it_does_not_start_the_processor_is_chosen_and_the_reason_kept(
    bundle: Bundle,
    install: Install,
    caplog: pytest.LogCaptureFixture,
    behaviour: dict[str, Any],
    says: str,
) -> None:
    install(**behaviour)
    with caplog.at_level(logging.INFO):
        decision = choose(bundle)
    assert f"not on cuda: {decision.passed_over[2].why}" in caplog.text
    assert decision.chosen.device == "cpu"
    [_, _, passed] = decision.passed_over
    assert passed.device == "cuda"
    assert says in passed.why
    with pytest.raises(SessionError, match=r"--device cuda cannot run .*does not fall back"):
        choose(bundle, "cuda")


def test_a_device_that_is_named_is_refused_and_its_session_too(
    bundle: Bundle, install: Install
) -> None:
    install(provider_starts=False)
    with pytest.raises(SessionError, match="does not fall back"):
        open_session(bundle, "unet", "cuda")
    with pytest.raises(SessionError, match="does not start"):
        BACKENDS["cuda"].open_session(bundle, "unet", Asked())


def test_without_onnxruntime_the_extra_is_named(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert cuda(bundle).why == f"onnxruntime is not installed: {install_command('cuda')}"


class Driver:
    """As much of libcuda as is asked."""

    def __init__(self, init: int = 0, count: int = 1) -> None:
        self._init, self._count = init, count

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self._init

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = self._count
        return 0

    def cuDeviceGet(self, device: Any, ordinal: int) -> int:  # noqa: N802
        return 0

    def cuDevicePrimaryCtxRetain(self, context: Any, device: Any) -> int:  # noqa: N802
        context._obj.value = 7
        return 0

    def cuCtxPushCurrent_v2(self, context: Any) -> int:  # noqa: N802
        self.current = context.value
        return 0

    def cuMemGetInfo_v2(self, free: Any, total: Any) -> int:  # noqa: N802
        free._obj.value = 3_000_000_000
        return 0 if self.current == 7 else 201

    def cuCtxPopCurrent_v2(self, context: Any) -> int:  # noqa: N802
        self.current = None
        return 0

    def cuDevicePrimaryCtxRelease_v2(self, device: Any) -> int:  # noqa: N802
        self.released = True
        return 0

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:  # noqa: N802
        name.value = b"NVIDIA H200"
        return 0


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (OSError("not found"), "no NVIDIA driver is installed here"),
        (Driver(init=100), r"finds no GPU \(CUDA error 100\)"),
        (Driver(count=0), "shows no GPU; CUDA_VISIBLE_DEVICES may hide it"),
    ],
)
def test_where_there_is_no_gpu_the_driver_says_so(
    monkeypatch: pytest.MonkeyPatch, found: Any, says: str
) -> None:
    def load(name: str) -> Any:
        assert name == nvidia.LIBRARY
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(ctypes, "CDLL", load)
    with pytest.raises(NoGpuError, match=says):
        gpu_name()
    with pytest.raises(SessionError, match=says):
        free_memory()


def test_a_gpu_is_called_what_its_driver_calls_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver())
    assert gpu_name() == "NVIDIA H200"


def test_a_gpu_tells_what_it_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    for name in ("cuda", "tensorrt", "tensorrt-rtx"):
        assert (ask := BACKENDS[name].free_memory) is not None
        assert ask() == 3_000_000_000
    assert driver.released
    assert driver.current is None  # as it was found


def test_the_trial_graph_is_one_that_onnx_accepts() -> None:
    import onnx

    onnx.checker.check_model(onnx.load_from_string(starting._IDENTITY), full_check=True)
