"""Jobs through the native API, on a real socket."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.serve.engine import Knobs, fake_served
from tests.serve.running import Running, data_url, png, serving

from overpaint.runtime.request import Request
from overpaint.runtime.settings import Settings
from overpaint.serve.config import Config


def refused(server: Running, **body: Any) -> dict[str, Any]:
    answer = server.client.post("/v1/jobs", json={"prompt": "red", **body})
    assert answer.status_code == 422, answer.text
    error = answer.json()["error"]
    assert error["id"]
    return dict(error)


def settings_of(server: Running, **body: Any) -> dict[str, Any]:
    """What was run for a job, as its result says."""
    ended = server.ended(server.submit(image=data_url(png()), **body)["id"])
    assert ended["status"] == "completed", ended
    return dict(ended["result"]["settings"], warnings=ended["result"]["warnings"])


def test_a_picture_is_uploaded_repainted_and_fetched(server: Running) -> None:
    job = server.submit(image=server.upload(png()), prompt="red", strength=0.8, seed=3)
    assert job["status"] in ("queued", "running")
    ended = server.ended(job["id"])
    assert ended["status"] == "completed", ended
    assert ended["result"]["seeds"] == [3]
    assert ended["result"]["steps_run"] == 8
    assert ended["result"]["device"] == "NumPy, by hand"
    assert ended["result"]["timings"]["total"] > 0
    assert server.pixels(ended["result"]["media"][0]).shape == (64, 64, 3)


def test_the_server_paints_the_pixels_that_the_pipeline_paints(
    server: Running, folder: Path
) -> None:
    picture = png(72, 48)
    pipeline: Any = fake_served(folder).open()
    settings = Settings(strength=0.7, steps=6, seed=5)
    alone = pipeline.run(Request(picture, "green", settings)).images[0]
    for image in (server.upload(picture), data_url(picture)):
        job = server.submit(image=image, prompt="green", strength=0.7, steps=6, seed=5)
        media = server.ended(job["id"])["result"]["media"][0]
        assert np.array_equal(server.pixels(media), np.asarray(alone))


def test_without_an_image_a_picture_is_painted_from_the_prompt(server: Running) -> None:
    job = server.submit(prompt="blue", size="64x48", steps=4, seed=0)
    ended = server.ended(job["id"])
    assert ended["result"]["seeds"] == [0]
    assert server.pixels(ended["result"]["media"][0]).shape == (48, 64, 3)


def test_each_of_n_pictures_has_its_own_seed_and_is_the_one_of_that_seed(server: Running) -> None:
    image = server.upload(png())
    ended = server.ended(server.submit(image=image, n=3, seed=10, steps=4)["id"])
    assert ended["result"]["seeds"] == [10, 11, 12]
    alone = server.ended(server.submit(image=image, seed=12, steps=4)["id"])
    assert np.array_equal(
        server.pixels(ended["result"]["media"][2]), server.pixels(alone["result"]["media"][0])
    )


def test_the_png_carries_its_parameters(server: Running) -> None:
    ended = server.ended(server.submit(prompt="a red picture", size="64x64", seed=7)["id"])
    answer = server.client.get(f"/v1/media/{ended['result']['media'][0]}.png")
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    text = Image.open(io.BytesIO(answer.content)).info
    assert json.loads(text["overpaint"])["prompt"] == "a red picture"
    assert "Seed: 7" in text["parameters"]


def test_an_unknown_field_is_named(server: Running) -> None:
    error = refused(server, image=data_url(png()), strenght=0.5)
    assert error["field"] == "strenght"
    assert "strenght" in error["message"]


def test_two_strengths_contradict_each_other(server: Running) -> None:
    error = refused(server, image=data_url(png()), strength=0.5, reference_strength=0.5)
    assert "reference_strength" in error["message"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"strength": 1.5}, "strength"),
        ({"strength": "a"}, "strength"),
        ({"strength": True}, "strength"),
        ({"steps": 0}, "steps"),
        ({"steps": 100_000}, "steps"),
        ({"steps": 2.5}, "steps"),
        ({"seed": -1}, "seed"),
        ({"n": 11}, "n"),
        ({"sampler": "eule"}, "sampler"),
        ({"sampler": "flow-euler"}, "sampler"),
        ({"sampler": "ddim", "sigmas": "karras"}, "sigmas"),
        ({"mode": "invent"}, "mode"),
        ({"size": "big"}, "size"),
        ({"size": "65x64"}, "size"),
        ({"prompt": 7}, "prompt"),
        ({"prompt": "a" * 10_001}, "prompt"),
        ({"image": "data:image/png;base64,???"}, "image"),
        ({"image": "data:image/png,abc"}, "image"),
        ({"image": "file:///etc/passwd"}, "image"),
        ({"image": "https://example.com/a.png"}, "image"),
        ({"mode": "copy", "strength": 0.5}, "strength"),
        ({"mode": "copy", "styles": {"mood": "calm"}}, "styles"),
    ],
)
def test_a_wrong_value_is_named(server: Running, body: dict[str, Any], field: str) -> None:
    assert refused(server, **{"image": data_url(png()), **body})["field"] == field


def test_text_to_image_needs_a_size_and_takes_no_strength(server: Running) -> None:
    assert refused(server)["field"] == "size"
    assert refused(server, size="64x64", strength=0.5)["field"] == "strength"


def test_a_model_that_is_not_served_is_not_found(server: Running) -> None:
    answer = server.client.post("/v1/jobs", json={"prompt": "a", "size": "64x64", "model": "no"})
    assert answer.status_code == 404
    assert answer.json()["error"]["field"] == "model"
    assert "fake, second" in answer.json()["error"]["message"]


def test_the_model_is_chosen_by_name(server: Running) -> None:
    ended = server.ended(server.submit(size="64x64", model="second")["id"])
    assert ended["model"] == ended["result"]["settings"]["model"] == "second"


def test_modify_mode_brings_its_defaults(server: Running) -> None:
    settings = settings_of(server, mode="modify")
    assert (settings["strength"], settings["steps"], settings["guidance_scale"]) == (0.5, 25, 7.5)


def test_copy_mode_stays_close_to_the_picture(server: Running) -> None:
    settings = settings_of(server, mode="copy", reference_strength=0.2)
    assert (settings["strength"], settings["steps"], settings["guidance_scale"]) == (0.05, 15, 1.0)


def test_copy_mode_ignores_presets_and_says_so(server: Running) -> None:
    settings = settings_of(server, mode="copy", preset="high")
    assert settings["steps"] == 15
    assert settings["warnings"] == ["preset high is ignored in copy mode"]


def test_presets_choose_steps_and_guidance(server: Running) -> None:
    fast, high = settings_of(server, preset="fast"), settings_of(server, preset="high")
    assert (fast["steps"], fast["guidance_scale"]) == (15, 7.0)
    assert (high["steps"], high["guidance_scale"]) == (25, 7.5)


@pytest.mark.parametrize("body", [{}, {"mode": "modify"}, {"preset": "fast"}, {"strength": 0.9}])
def test_copying_never_happens_unasked(server: Running, body: dict[str, Any]) -> None:
    settings = settings_of(server, **body)
    assert settings["mode"] != "copy"
    assert settings["strength"] > 0.05


def test_reference_strength_is_strength_seen_from_the_picture(server: Running) -> None:
    assert settings_of(server, reference_strength=0.7)["strength"] == 0.3


def test_the_style_table_is_added_in_modify_mode_alone(server: Running) -> None:
    modify = settings_of(server, prompt="red", mode="modify")
    assert modify["prompt"] == "red, soft light, quiet mood, cinematic, highly detailed"
    assert modify["negative_prompt"] == "blurry, distorted, watermark"
    for body in ({"mode": "copy"}, {"mode": None}, {"mode": "modify", "styles": {}}):
        settings = settings_of(server, prompt="red", **body)
        assert settings["prompt"] == "red"
        assert settings["negative_prompt"] is None


def test_a_job_may_bring_its_own_style_rows(server: Running) -> None:
    settings = settings_of(server, prompt="red", styles={"mood": "gloomy", "quality": " "})
    assert settings["prompt"] == "red, gloomy"


def test_a_negative_prompt_of_ones_own_wins(server: Running) -> None:
    assert settings_of(server, mode="modify", negative_prompt="")["negative_prompt"] == ""


def test_a_job_that_never_was_is_not_found(server: Running) -> None:
    for method in ("GET", "DELETE"):
        answer = server.client.request(method, "/v1/jobs/" + "a" * 22)
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "not_found"


def test_one_thread_runs_a_model_and_jobs_run_in_order(folder: Path) -> None:
    knobs = Knobs()
    with serving(Config(port=0), [fake_served(folder, knobs=knobs)]) as server:
        knobs.gate.clear()
        jobs = [server.submit(size="64x64", steps=2)["id"] for _ in range(4)]
        server.until(jobs[0], "running")
        assert [server.job(job)["queue_position"] for job in jobs[1:]] == [0, 1, 2]
        knobs.gate.set()
        ended = [server.ended(job) for job in jobs]
        started = [job["started_at"] for job in ended]
        assert started == sorted(started)
        assert len(knobs.threads) == 1


def test_nothing_a_client_wrote_reaches_the_log(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "xyzzy"
    knobs = Knobs()
    caplog.set_level("DEBUG", "overpaint")
    with serving(Config(port=0), [fake_served(folder, knobs=knobs)]) as server:
        long = f"{secret} " * 30
        server.ended(server.submit(prompt=long, negative_prompt=secret, size="64x64")["id"])
        knobs.failures.append(RuntimeError(f"could not paint {secret}"))
        failed = server.ended(server.submit(prompt=secret, size="64x64")["id"])
        server.client.get(f"/v1/jobs/{secret}?prompt={secret}")
        server.client.post("/v1/jobs", json={"prompt": secret, secret: secret})
        metrics = server.client.get("/metrics").text
    assert failed["error"]["id"] in caplog.text
    assert "RuntimeError" in caplog.text
    assert secret not in caplog.text + metrics
