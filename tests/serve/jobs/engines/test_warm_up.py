"""A bundle is opened as `--device`, `--precision` and `--warm-up` say, before it takes a job."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.doubles.cuda_double import Gpu, double
from tests.runtime.test_precision import needs_bf16
from tests.serve.running import png, serving

from overpaint.bundle.errors import UsageError
from overpaint.bundle.format.open import open_bundle
from overpaint.engines.onnxruntime.cuda import start as starting
from overpaint.runtime import Img2Img, precision_gate
from overpaint.runtime.default_bundle import bundle_or_default
from overpaint.serve import command
from overpaint.serve.config import Config
from overpaint.serve.jobs.engines import bundles
from overpaint.serve.jobs.engines.bundles import Opening, native_side, served_bundle

Install = Callable[[], Gpu]


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> Install:
    def install() -> Gpu:
        gpu = Gpu()
        monkeypatch.setitem(sys.modules, "onnxruntime", double(gpu))
        monkeypatch.setattr(starting, "gpu_name", lambda: "Double")
        return gpu

    return install


@pytest.fixture
def warmed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The sizes that are warmed up, instead of doing so."""
    sizes: list[tuple[int, int]] = []
    monkeypatch.setattr(bundles, "warm_up", lambda pipe, *some: sizes.extend(some))
    return sizes


def test_the_first_job_of_a_size_that_was_warmed_up_only_replays(
    on_gpu: Install, caplog: pytest.LogCaptureFixture
) -> None:
    gpu = on_gpu()
    served = served_bundle(None, Opening(device="cuda", sizes=((64, 64), (96, 64))))
    with caplog.at_level(logging.INFO), serving(Config(port=0), [served]) as server:
        said = [record.getMessage() for record in caplog.records]
        [warm] = [i for i, line in enumerate(said) if line.startswith("warmed up for 64x64, 96x64")]
        assert warm < next(i for i, line in enumerate(said) if line.startswith("ready:"))
        for size in ((64, 64), (96, 64)):
            done = len(gpu.log)
            upload = server.upload(png(*size))
            job = server.submit(image=upload, steps=3, seed=1)
            assert server.ended(job["id"])["status"] == "completed"
            new = gpu.log[done:]
            assert "replay" in new
            assert new.count("capture") == new.count("run") == new.count("allocate") == 0


def test_on_onnxruntimes_gpu_a_bundles_own_size_is_warmed_up_unasked(
    on_gpu: Install, warmed: list[tuple[int, int]]
) -> None:
    on_gpu()
    side = native_side(open_bundle(bundle_or_default(None)))
    served_bundle(None, Opening()).open().close()
    assert warmed == [(side, side)]


def test_on_a_processor_nothing_is_warmed_up_unasked(warmed: list[tuple[int, int]]) -> None:
    served_bundle(None, Opening(device="cpu")).open().close()
    assert warmed == []
    served_bundle(None, Opening(device="cpu", sizes=((64, 64),))).open().close()
    assert warmed == [(64, 64)]


def test_a_bundle_that_cannot_be_warmed_up_holds_no_engine(
    on_gpu: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = on_gpu()

    def fail(pipe: Any, *sizes: tuple[int, int]) -> None:
        raise MemoryError

    monkeypatch.setattr(bundles, "warm_up", fail)
    with pytest.raises(MemoryError):
        served_bundle(None, Opening(device="cuda")).open()
    assert gpu.live == 0


@needs_bf16
def test_the_server_answers_while_bf16_is_compared_for_the_first_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path))
    comparing, go_on = threading.Event(), threading.Event()

    def compare(*of: Any) -> float:
        comparing.set()
        assert go_on.wait(20)
        return 60.0

    monkeypatch.setattr(precision_gate, "compare", compare)
    served = served_bundle(None, Opening(device="openvino", precision="bf16"))
    with serving(Config(port=0), [served], ready=False) as server:
        assert comparing.wait(20)
        assert server.client.get("/healthz").status_code == 200
        assert server.client.get("/").status_code == 200
        assert server.client.get("/readyz").status_code == 503
        early = server.client.post("/v1/jobs", json={"prompt": "red"})
        assert (early.status_code, early.json()["error"]["code"]) == (503, "loading")
        go_on.set()
        while server.client.get("/readyz").status_code != 200:
            time.sleep(0.05)
        job = server.submit(image=server.upload(png()), steps=2)
        assert server.ended(job["id"])["status"] == "completed"


def test_device_and_precision_are_the_pipelines(
    monkeypatch: pytest.MonkeyPatch, warmed: list[tuple[int, int]]
) -> None:
    opened: list[dict[str, Any]] = []
    real = Img2Img.open

    def open_here(path: Path | None, **options: Any) -> Img2Img:
        opened.append(options)
        return real(path, device="cpu")

    monkeypatch.setattr(Img2Img, "open", open_here)
    served_bundle(None, Opening(device="openvino", precision="bf16")).open().close()
    asked = {"device": "openvino", "precision": "bf16"}
    nothing = {
        "gpu_memory": None,
        "lora_folder": None,
        "control": [],
        "ip_adapter": None,
        "tiny_vae": None,
        "upscaler": None,
        "embedding": {},
    }
    assert opened == [asked | nothing]
    assert warmed == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"warm_up": [(65, 64)]}, r"--warm-up: \S+: expected a size .* the nearest is 64x64"),
        ({"precision": "bf16"}, "--precision bf16 needs --device openvino"),
        ({"precision": "f16"}, "--precision: expected f32, bf16 or int8"),
        ({"device": "abacus"}, "--device: expected one of auto, "),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_opened(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        command.serve(port=0, opening=command.opening_of(**options))
