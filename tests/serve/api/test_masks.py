"""The native API's masks: given as pictures are, checked before an engine runs, exact."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.serve.engine import fake_served
from tests.serve.masks import as_png, clear, is_only_in, repainted, white
from tests.serve.running import Running, data_url, png, serving

from overpaint.runtime.settings import Settings
from overpaint.serve.config import Config
from overpaint.serve.jobs.protocol import Order

ASKED: dict[str, Any] = {"steps": 3, "strength": 1.0, "seed": 5, "guidance_scale": 1.0}


def paint(server: Running, **more: Any) -> np.ndarray:
    job = server.submit(**{**ASKED, "image": data_url(png()), **more})
    ended = server.ended(job["id"])
    assert ended["status"] == "completed", ended["error"]
    return server.pixels(ended["result"]["media"][0])


def problem(server: Running, **body: Any) -> tuple[int, str, str]:
    answer = server.client.post("/v1/jobs", json={"prompt": "red", **ASKED, **body})
    error = answer.json()["error"]
    return answer.status_code, error["field"], error["message"]


def test_a_mask_is_given_as_a_picture_is(server: Running) -> None:
    mask = as_png(white())
    painted = [
        paint(server, mask=data_url(mask)),
        paint(server, mask=server.upload(mask)),
        paint(server, image=server.upload(png()), mask=server.upload(as_png(white()))),
    ]
    assert is_only_in(painted[0], png())
    assert all(np.array_equal(painted[0], other) for other in painted[1:])


def test_what_a_mask_leaves_of_a_large_picture_is_the_picture_as_it_was_shrunk(
    server: Running,
) -> None:
    large, mask = png(1200, 300), as_png(white((0, 0, 600, 300), (1200, 300)))
    upload = server.upload(large)
    shrunk = server.state.uploads.get(upload)
    changed = repainted(paint(server, image=upload, mask=data_url(mask)), shrunk)
    assert changed.shape == (256, 1024)
    assert changed[:, :500].mean() > 0.5
    assert not changed[:, 520:].any()


def test_an_uploads_transparency_is_kept_and_can_be_the_mask(server: Running) -> None:
    picture = Image.open(io.BytesIO(png())).convert("RGBA")
    picture.putalpha(clear().getchannel("A"))
    upload = server.upload(as_png(picture))
    assert Image.open(io.BytesIO(server.state.uploads.get(upload))).mode == "RGBA"
    assert is_only_in(paint(server, image=upload, mask_from_alpha=True), _on_white(picture))


def _on_white(picture: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)


def test_a_canvas_grows_and_what_is_new_is_repainted(server: Running) -> None:
    painted = paint(server, extend=[32, 0, 0, 32])
    assert painted.shape == (96, 96, 3)
    assert not repainted(painted[:64, 32:], png()).any()


def test_mask_options_mean_what_they_mean_to_the_runtime(server: Running) -> None:
    mask = data_url(as_png(white()))
    other = data_url(as_png(white((32, 0, 64, 64))))
    inverted = paint(server, mask=mask, mask_invert=True)
    assert np.array_equal(inverted, paint(server, mask=other))
    softly = paint(server, mask=mask, mask_blur=3, mask_mode="soft", mask_fill="blur")
    assert not np.array_equal(softly, paint(server, mask=mask))
    alone = paint(server, mask=mask, mask_padding=4, size="128x128")
    assert is_only_in(alone, png())


def test_a_mask_of_another_size_is_fitted_which_is_said(server: Running) -> None:
    mask = data_url(as_png(white((0, 0, 16, 32), (32, 32))))
    job = server.submit(**ASKED, image=data_url(png()), mask=mask)
    (warning,) = server.ended(job["id"])["result"]["warnings"]
    assert warning.startswith("mask: expected the picture's 64x64 pixels, got 32x32")


def test_the_result_says_which_mask_it_had(server: Running) -> None:
    job = server.submit(**ASKED, image=data_url(png()), mask=data_url(as_png(white())))
    settings = server.ended(job["id"])["result"]["settings"]
    assert len(settings["mask_sha256"]) == 64
    assert settings["mask_mode"] == "hard"


PICTURE, MASK = data_url(png()), data_url(as_png(white()))


@pytest.mark.parametrize(
    ("body", "status", "field", "words"),
    [
        ({"mask": MASK, "size": "64x64"}, 422, "mask", "text to image has none"),
        ({"mask_from_alpha": True, "size": "64x64"}, 422, "mask", "text to image has none"),
        ({"image": PICTURE, "mask_blur": 3}, 422, "mask_blur", "there is no mask"),
        ({"image": PICTURE, "mask_paste": False}, 422, "mask_paste", "there is no mask"),
        (
            {"image": PICTURE, "mask": MASK, "mask_from_alpha": True},
            422,
            "mask_from_alpha",
            "given already",
        ),
        ({"image": PICTURE, "mask": MASK, "mask_mode": "firm"}, 422, "mask_mode", "choose from"),
        ({"image": PICTURE, "mask": MASK, "mask_blur": 257}, 422, "mask_blur", "less than"),
        ({"image": PICTURE, "extend": [0, 0, 0]}, 422, "extend", "at least 4"),
        ({"image": PICTURE, "extend": [0, 0, 0, 4000]}, 422, "extend", "less than"),
        ({"image": PICTURE, "mask": "a" * 22}, 404, "mask", "id of an upload"),
        ({"image": PICTURE, "mask": data_url(b"no picture")}, 415, "mask", "expected a PNG"),
        ({"image": PICTURE, "mask": data_url(png()[:900])}, 422, "mask", "damaged"),
        ({"image": PICTURE, "mask": "https://a.example/b.png"}, 422, "mask", "not fetched"),
    ],
)
def test_what_is_wrong_with_a_mask_is_said_before_an_engine_runs(
    server: Running, body: dict[str, Any], status: int, field: str, words: str
) -> None:
    got = problem(server, **body)
    assert got[:2] == (status, field)
    assert words in got[2]


def test_a_picture_and_a_mask_of_the_largest_kind_fit_into_one_job(server: Running) -> None:
    largest = data_url(bytes(9_900_000))
    assert problem(server, image=PICTURE, mask=largest, negative_prompt="x")[:2] == (415, "mask")
    status, field, _ = problem(server, image=largest, mask=largest)
    assert (status, field) == (415, "image")


def test_capabilities_tell_which_masks_are_taken(server: Running) -> None:
    models = server.client.get("/v1/capabilities").json()["models"]
    assert [model["masks"] for model in models] == [["hard", "soft"]] * 2


@pytest.fixture
def door(server: Running) -> Iterator[Running]:
    """A server without engines, in front of `server`."""
    with serving(Config(port=0, provider=server.url), []) as running:
        yield running


def test_a_mask_goes_on_to_the_server_behind_a_front_door(server: Running, door: Running) -> None:
    asked: dict[str, Any] = {"mask": MASK, "mask_blur": 2, "model": "fake"}
    assert np.array_equal(paint(door, **asked), paint(server, **asked))


def test_a_model_whose_server_knows_no_masks_gets_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("overpaint.serve.jobs.providers.local.MASK_MODES", ())
    with serving(Config(port=0), [fake_served(folder)]) as server:
        status, field, message = problem(server, image=PICTURE, mask=MASK)
    assert (status, field) == (422, "mask")
    assert message == "mask: fake, where it is served, takes none"


def test_a_job_is_priced_by_its_grown_canvas() -> None:
    grown = Settings(extend=(32, 0, 0, 16))
    assert Order(model="fake", prompt="red", image=png(), settings=grown).size == (96, 80)
    sized = replace(grown, size=(64, 64))
    assert Order(model="fake", prompt="red", image=png(), settings=sized).size == (64, 64)
