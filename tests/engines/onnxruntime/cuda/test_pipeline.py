"""Image to image through the CUDA sessions, on a double whose numbers are the CPU provider's."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.doubles.cuda_double import Gpu, double

from overpaint.engines.onnxruntime.cpu import engine
from overpaint.engines.onnxruntime.cuda import start as starting
from overpaint.engines.onnxruntime.cuda.operators import with_kernels
from overpaint.runtime import Img2Img, warm_up
from overpaint.runtime.default_bundle import bundle_or_default

SIZES = ((64, 64), (96, 64), (64, 96))
PICTURE = Path(__file__).parents[4] / "examples/summer.png"


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Gpu]:
    def install(**behaviour: Any) -> Gpu:
        gpu = Gpu(**behaviour)
        monkeypatch.setitem(sys.modules, "onnxruntime", double(gpu))
        monkeypatch.setattr(starting, "gpu_name", lambda: "Double")
        return gpu

    return install


def painted(device: str, sizes: Any = SIZES, **options: Any) -> list[np.ndarray]:
    """Two rounds of `sizes`, so that the second meets what the first left behind."""
    with Img2Img.open(bundle_or_default(None), device=device) as pipe:
        results = [
            pipe(PICTURE, prompt, size=size, seed=3, steps=4, strength=0.9, **options)
            for prompt in ("winter", "a stormy night")
            for size in sizes
        ]
        assert all(device in one.device.lower() for one in results)
        return [np.asarray(image) for one in results for image in one.images]


@pytest.fixture(scope="module")
def on_processor() -> Iterator[list[np.ndarray]]:
    """The processor's pictures of the graphs that a GPU is given."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "cpu_rewrite", lambda component: with_kernels)
        yield painted("cpu")


def test_a_gpus_graphs_paint_what_the_processors_do(on_processor: list[np.ndarray]) -> None:
    for here, there in zip(on_processor, painted("cpu"), strict=True):
        assert np.abs(here.astype(int) - there.astype(int)).max() <= 1


@pytest.mark.parametrize("pinned", [False, True])
def test_pictures_are_the_processors_to_the_bit(
    on_gpu: Callable[..., Gpu], on_processor: list[np.ndarray], pinned: bool
) -> None:
    gpu = on_gpu(pinned=pinned)
    for here, there in zip(painted("cuda"), on_processor, strict=True):
        np.testing.assert_array_equal(here, there)
    assert gpu.count("capture") >= len(SIZES)
    assert gpu.count("replay") > gpu.count("capture")
    assert gpu.live == 0


def test_samplers_that_look_back_are_not_fed_buffers_that_changed(
    on_gpu: Callable[..., Gpu],
) -> None:
    wanted = painted("cpu", SIZES[:1], sampler="dpmpp-2m", n=2)
    on_gpu(pinned=True)
    for here, there in zip(
        painted("cuda", SIZES[:1], sampler="dpmpp-2m", n=2), wanted, strict=True
    ):
        np.testing.assert_array_equal(here, there)


def test_with_low_memory_every_engine_gives_its_memory_back(
    on_gpu: Callable[..., Gpu], on_processor: list[np.ndarray]
) -> None:
    gpu = on_gpu()
    with Img2Img.open(bundle_or_default(None), device="cuda", low_memory=True) as pipe:
        result = pipe(PICTURE, "winter", size=SIZES[0], seed=3, steps=4, strength=0.9)
        assert gpu.live == 0
    np.testing.assert_array_equal(np.asarray(result.images[0]), on_processor[0])


def test_run_after_run_takes_no_more_memory(on_gpu: Callable[..., Gpu]) -> None:
    gpu, live = on_gpu(), []
    with Img2Img.open(bundle_or_default(None), device="cuda") as pipe:
        for round_ in range(4):
            for size in SIZES:
                pipe(PICTURE, f"winter {round_}", size=size, seed=round_, steps=2, strength=1.0)
            live.append(gpu.live)
    assert live[1] == live[2] == live[3]


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_after_a_warm_up_a_run_of_that_size_only_replays(
    on_gpu: Callable[..., Gpu], guidance_scale: float
) -> None:
    gpu = on_gpu()
    with Img2Img.open(bundle_or_default(None), device="cuda") as pipe:
        warm_up(pipe, SIZES[0], guidance_scale=guidance_scale)
        done = len(gpu.log)
        pipe(
            PICTURE, "a stormy night", size=SIZES[0], guidance_scale=guidance_scale,
            steps=1, steps_mode="exact",
        )  # fmt: skip
        new = gpu.log[done:]
    words = 2 if guidance_scale > 1 else 1
    assert new.count("replay") == words + 3, "words, picture, one step, picture"
    assert new.count("capture") == new.count("run") == new.count("allocate") == 0
