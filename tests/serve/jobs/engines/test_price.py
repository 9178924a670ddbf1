"""What a job costs is known before it runs, and what is too large is that job's own fault."""

from __future__ import annotations

import itertools
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
from PIL import Image
from tests.doubles.cuda_double import Gpu, double
from tests.serve.engine import Knobs, fake_served
from tests.serve.running import data_url, png, serving

from overpaint.bundle.errors import SessionError
from overpaint.bundle.format.open import open_bundle
from overpaint.engines.host import nvidia
from overpaint.engines.onnxruntime.cuda import start as starting
from overpaint.runtime import Img2Img
from overpaint.runtime.default_bundle import bundle_or_default
from overpaint.runtime.memory import HELD
from overpaint.runtime.prepare import image_sides
from overpaint.serve.config import Config
from overpaint.serve.jobs.engines import price as pricing
from overpaint.serve.jobs.engines.bundles import Opening, served_bundle
from overpaint.serve.jobs.engines.memory import is_out_of_memory
from overpaint.serve.jobs.engines.price import Price, measure, paint_small

SMALL = Price(pixels=64 * 64, denoise=1_000_000, decode=500_000, batch=2)


def test_a_price_grows_with_pixels_and_pictures_and_is_read_backwards() -> None:
    assert SMALL.of(64 * 64, 1) == 1_500_000
    assert SMALL.of(128 * 128, 1) == 8_000_000 + 2_000_000
    assert SMALL.of(64 * 64, 2) == SMALL.of(64 * 64, 9) == 2_500_000  # two at a time at most
    for room, n in itertools.product((0, 10_000, 3_000_000, 10**10), (1, 2)):
        most = SMALL.most_pixels(room, n)
        assert SMALL.of(most, n) <= room < SMALL.of(most + 1, n)


def test_a_model_is_priced_as_it_is_opened_and_its_large_jobs_leave_nothing_behind() -> None:
    """In a process of its own, as a server begins: another's heap would hide what it takes."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        price, took, held, left = process.submit(what_a_large_picture_takes).result()
    assert held > 100_000_000
    assert took < price < 1.5 * took
    assert left < held / 3


def what_a_large_picture_takes() -> tuple[float, int, int, int]:
    """In bytes: the price of a picture of 512x512, what it took at most, what was held after it,
    and what still is after a small one."""
    served = served_bundle(None, Opening(device="cpu"))
    bundle = open_bundle(bundle_or_default(None))
    sides = image_sides(bundle.manifest)
    with Img2Img.open(None, device="cpu") as pipeline:
        pipeline.wait()
        price = measure(pipeline, bundle.manifest, sides, served.side)
        before = pricing._resident()
        pricing._forget_peak()
        large = Image.new("RGB", (512, 512))
        pipeline(large, "a picture", strength=1.0, steps=1, guidance_scale=2, seed=0)
        took, held = pricing._peak() - before, pricing._resident() - before
        paint_small(pipeline, sides)
        return price.of(512 * 512, 1), took, held, pricing._resident() - before


def test_on_a_gpu_a_model_is_priced_by_what_its_driver_has_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = Gpu()
    monkeypatch.setitem(sys.modules, "onnxruntime", double(gpu))
    monkeypatch.setattr(starting, "gpu_name", lambda: "Double")
    monkeypatch.setattr(nvidia, "free_memory", lambda: 6_000_000 - gpu.live)
    served = served_bundle(None, Opening(device="cuda"))
    with serving(Config(port=0, memory_budget=served.bytes), [served]) as server:
        # the host's budget has no room at all, and is not asked
        (model,) = server.client.get("/v1/capabilities").json()["models"]
        most = model["sizes"]["most_pixels"][0]
        assert 128 * 128 < most < 6_000_000 / pricing.LEAST
        assert server.ended(server.submit(size="128x128", steps=1)["id"])["status"] == "completed"
        large = server.client.post("/v1/jobs", json={"prompt": "x", "size": "512x512"})
        assert large.status_code == 422
        assert f"has memory for {most} pixels" in large.json()["error"]["message"]


def test_a_gpu_that_does_not_tell_what_it_has_left_takes_every_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def silent() -> int:
        raise SessionError("the NVIDIA driver does not tell its memory (CUDA error 201)")

    monkeypatch.setitem(sys.modules, "onnxruntime", double(Gpu()))
    monkeypatch.setattr(starting, "gpu_name", lambda: "Double")
    monkeypatch.setattr(nvidia, "free_memory", silent)
    with serving(Config(port=0), [served_bundle(None, Opening(device="cuda"))]) as server:
        (model,) = server.client.get("/v1/capabilities").json()["models"]
        assert model["sizes"]["most_pixels"] == []


def test_jobs_that_do_not_fit_are_refused_with_figures_by_every_face(folder: Path) -> None:
    served = replace(fake_served(folder), measure=lambda pipeline: SMALL)
    budget = served.bytes + SMALL.of(64 * 64, 2)
    with serving(Config(port=0, memory_budget=budget), [served]) as server:
        sizes = server.client.get("/v1/capabilities").json()["models"][0]["sizes"]
        assert sizes["most_pixels"][1] == 64 * 64
        assert sizes["most_pixels"][0] > 64 * 64
        job = server.submit(size="64x64", n=2, steps=1)
        assert server.ended(job["id"])["status"] == "completed"
        wide = {"prompt": "x", "size": "128x128", "steps": 1}
        for body in (wide, {"prompt": "x", "image": data_url(png(128, 128)), "n": 2}):
            answer = server.client.post("/v1/jobs", json=body)
            assert answer.status_code == 422
            assert answer.json()["error"]["field"] == "size"
            assert "128x128, which is 16384" in answer.json()["error"]["message"]
        a1111 = {"prompt": "x", "width": 128, "height": 128}
        assert server.client.post("/sdapi/v1/txt2img", json=a1111).status_code == 422
        edit = {"prompt": "x", "size": "128x128"}
        answer = server.client.post("/v1/images/edits", data=edit, files={"image": png()})
        assert answer.status_code == 400


def test_a_job_that_was_too_large_after_all_is_not_the_engines_failure(folder: Path) -> None:
    said = "unet: the engine failed: Failed to allocate memory for requested buffer of size 86"
    knobs = Knobs(failures=[SessionError(said) for _ in range(4)])
    with serving(Config(port=0), [fake_served(folder, knobs=knobs)]) as server:
        for _ in range(4):
            job = server.ended(server.submit(size="128x128", steps=1)["id"])
            assert job["error"]["code"] == "too_large"
            assert "1 of 128x128" in job["error"]["message"]
        assert server.client.get("/readyz").status_code == 200
        assert server.ended(server.submit(size="64x64", steps=1)["id"])["status"] == "completed"


def test_an_engine_that_has_no_memory_for_its_own_size_is_not_well(folder: Path) -> None:
    knobs = Knobs(failures=[SessionError("Failed to allocate memory") for _ in range(3)])
    with serving(Config(port=0), [fake_served(folder, knobs=knobs)]) as server:
        for _ in range(3):
            job = server.ended(server.submit(size="64x64", steps=1)["id"])
            assert job["error"]["code"] == "engine_failed"
        assert server.client.get("/readyz").status_code == 503


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (MemoryError(), True),
        (SessionError("BFCArena: Available memory of 1 is smaller than requested"), True),
        (SessionError("std::bad_alloc"), True),
        (SessionError("Non-zero status code returned while running Conv"), False),
    ],
)
def test_want_of_memory_is_told_by_its_words(error: Exception, memory: bool) -> None:
    assert is_out_of_memory(error) is memory


def test_a_picture_in_tiles_costs_what_a_tile_does_and_what_is_held_of_it() -> None:
    price = Price(pixels=128 * 128, denoise=20_000_000, decode=1_000_000, batch=1)
    embedded = served_bundle(None, Opening(device="cpu"))
    served = replace(embedded, measure=lambda pipeline: price)
    budget = served.bytes + price.of(128 * 128, 1) + HELD * 256 * 256
    with serving(Config(port=0, memory_budget=budget), [served]) as server:
        tiled = {"size": "256x256", "steps": 1, "tile": "128x128"}
        ended = server.ended(server.submit(**tiled)["id"])
        assert ended["status"] == "completed", ended["error"]
        for body, why in (
            ({**tiled, "tile": None}, "ask for a smaller size, fewer, or a tile"),
            ({**tiled, "tile": "192x192"}, "ask for smaller ones"),
        ):
            answer = server.client.post("/v1/jobs", json={"prompt": "x", **body})
            assert answer.status_code == 422
            assert why in answer.json()["error"]["message"]
        ended = server.ended(server.submit(**tiled | {"size": "16384x16384"})["id"])
        assert ended["status"] == "failed"
        assert "there is memory for pictures of" in ended["error"]["message"]
