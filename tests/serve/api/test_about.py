"""What the server says about itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.doubles.engines import fake_bundle
from tests.serve.engine import Knobs, fake_served
from tests.serve.running import Running, data_url, png, serving

from overpaint.serve.config import Config
from overpaint.serve.jobs.engines.bundles import native_side


def test_capabilities_are_those_of_this_bundle_here(server: Running) -> None:
    answer = server.client.get("/v1/capabilities").json()
    model = answer["models"][0]
    assert (model["name"], model["family"]) == ("fake", "sd1")
    assert model["sizes"] == {
        "multiple": 8,
        "minimum": 8,
        "maximum": 1024,
        "default": {"width": 64, "height": 64},
        "most_pixels": [],
    }
    assert model["defaults"] == {
        "strength": 0.5,
        "steps": 10,
        "guidance_scale": 2.0,
        "sampler": "default",
    }
    assert model["steps"] == {"maximum": 150, "rounding": "down"}
    assert "euler" in model["samplers"]
    assert "flow-euler" not in model["samplers"]
    assert model["sigmas"]["ddim"] == ["default"]
    assert "karras" in model["sigmas"]["euler"]
    assert answer["modes"]["copy"]["strength"] == 0.05
    assert answer["presets"]["fast"]["steps"] == 15
    assert [style["name"] for style in answer["styles"]] == ["lighting", "mood", "quality"]
    assert answer["limits"]["upload_bytes"] == 10_000_000
    assert answer["limits"]["upload_seconds"] == 300


def test_every_sampler_that_is_told_is_run(server: Running) -> None:
    for sampler in server.client.get("/v1/capabilities").json()["models"][0]["samplers"]:
        job = server.ended(server.submit(image=data_url(png()), sampler=sampler, steps=4)["id"])
        assert job["status"] == "completed", (sampler, job["error"])


def test_the_pace_is_measured_here(folder: Path) -> None:
    knobs = Knobs(step_seconds=0.05)
    with serving(Config(port=0), [fake_served(folder, knobs=knobs)]) as server:
        assert server.client.get("/v1/capabilities").json()["models"][0]["pace"] is None
        server.ended(server.submit(size="64x64", steps=6)["id"])
        model = server.client.get("/v1/capabilities").json()["models"][0]
        assert 0.05 < model["pace"]["step_s"] < 0.5
        assert model["device"] == "NumPy, by hand"


def test_the_metrics_tell_depth_waits_stages_and_ends(folder: Path) -> None:
    knobs = Knobs()
    with serving(Config(port=0), [fake_served(folder, knobs=knobs)]) as server:
        server.ended(server.submit(image=data_url(png()))["id"])
        knobs.failures.append(RuntimeError("boom"))
        server.ended(server.submit(size="64x64")["id"])
        knobs.gate.clear()
        server.until(server.submit(size="64x64")["id"], "running")
        server.submit(size="64x64")
        text = server.client.get("/metrics").text
        knobs.gate.set()
    for line in (
        "overpaint_queue_depth 1.0",
        "overpaint_jobs_running 1.0",
        "overpaint_queue_wait_seconds_count 3.0",
        'overpaint_stage_seconds_count{model="fake",stage="denoise"} 1.0',
        'overpaint_stage_seconds_count{model="fake",stage="encode"} 1.0',
        'overpaint_jobs_total{code="",outcome="completed"} 1.0',
        'overpaint_jobs_total{code="engine_failed",outcome="failed"} 1.0',
        'overpaint_http_requests_total{route="/v1/jobs",status="202"} 4.0',
    ):
        assert line in text.splitlines(), line


@pytest.mark.parametrize(
    ("config", "side"),
    [('{"sample_size": 32}', 256), ('{"sample_size": 1024}', 1024), ("{}", 512), ("?", 512)],
)
def test_the_native_size_is_the_checkpoints_own(folder: Path, config: str, side: int) -> None:
    bundle = fake_bundle(folder / "bundle")
    (bundle.folder / "unet").mkdir()
    (bundle.folder / "unet" / "config.json").write_text(config)
    assert native_side(bundle) == side
