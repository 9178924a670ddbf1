"""The OpenAI face, driven by the unmodified `openai` package through a real socket."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from PIL import Image
from tests.serve.engine import Knobs, fake_served
from tests.serve.masks import as_png, clear, is_only_in
from tests.serve.running import Running, data_url, png, serving

from overpaint.bundle.errors import SessionError
from overpaint.serve.config import Config


def client_of(server: Running, key: str = "none needed", retries: int = 0) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=retries)


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[openai.OpenAI]:
    with client_of(server) as one:
        yield one


def picture_of(answer: Any, index: int = 0) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(answer.data[index].b64_json)))


def test_an_edit_gives_the_pixels_that_the_native_api_gives(
    server: Running, client: openai.OpenAI
) -> None:
    answer = client.images.edit(
        image=("photo.png", png(72, 48)),
        prompt="green",
        size="64x48",
        extra_body={
            "strength": 0.7,
            "num_inference_steps": 6,
            "seed": 5,
            "guidance_scale": 3.0,
            "scheduler": "ddim",
            "negative_prompt": "red",
        },
    )
    job = server.submit(
        image=data_url(png(72, 48)),
        prompt="green",
        size="64x48",
        strength=0.7,
        steps=6,
        seed=5,
        guidance_scale=3.0,
        sampler="ddim",
        negative_prompt="red",
    )
    media = server.ended(job["id"])["result"]["media"][0]
    assert np.array_equal(np.asarray(picture_of(answer)), server.pixels(media))
    assert answer.size == "64x48"
    assert abs(answer.created - time.time()) < 60


def test_n_pictures_come_back(client: openai.OpenAI) -> None:
    answer = client.images.edit(image=png(), prompt="red", n=3, extra_body={"seed": 1})
    assert len(answer.data or []) == 3
    assert not np.array_equal(np.asarray(picture_of(answer, 0)), np.asarray(picture_of(answer, 1)))


def test_one_picture_in_a_list_is_taken(client: openai.OpenAI) -> None:
    """A list is sent in the part `image[]`."""
    assert client.images.edit(image=[png()], prompt="red").data


def test_any_content_type_is_taken_for_what_the_bytes_say(client: openai.OpenAI) -> None:
    photo = ("photo", png(kind="WEBP"), "application/octet-stream")
    assert picture_of(client.images.edit(image=photo, prompt="red")).size == (64, 64)


@pytest.mark.parametrize(
    ("kind", "quality"), [("png", None), ("webp", 100), ("webp", 30), ("jpeg", 50)]
)
def test_the_format_and_its_quality_are_chosen(
    client: openai.OpenAI, kind: Any, quality: int | None
) -> None:
    more: Any = {} if quality is None else {"output_compression": quality}
    answer = client.images.edit(image=png(), prompt="red", output_format=kind, **more)
    assert picture_of(answer).format == kind.upper()
    assert answer.output_format == kind


def test_a_lower_quality_is_a_smaller_file(client: openai.OpenAI) -> None:
    sizes = [
        len(
            client.images.edit(
                image=png(),
                prompt="red",
                output_format="jpeg",
                output_compression=quality,
                extra_body={"seed": 1},
            )
            .data[0]
            .b64_json  # type: ignore[index,arg-type]
        )
        for quality in (10, 95)
    ]
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_a_url_leads_to_the_picture(client: openai.OpenAI, kind: Any) -> None:
    answer = client.images.edit(
        image=png(), prompt="red", response_format="url", output_format=kind
    )
    url = str((answer.data or [])[0].url)
    fetched = httpx.get(url)
    assert fetched.headers["content-type"] == f"image/{kind}"
    assert Image.open(io.BytesIO(fetched.content)).format == kind.upper()
    assert httpx.get(url.replace(f".{kind}", ".jpeg")).status_code == 404


MASKED: Any = {"strength": 1.0, "num_inference_steps": 3, "seed": 5, "guidance_scale": 1.0}


def test_what_the_mask_has_fully_transparent_is_repainted(client: openai.OpenAI) -> None:
    mask = clear()
    mask.paste((0, 0, 0, 1), (0, 0, 8, 64))  # nearly
    answer = client.images.edit(image=png(), mask=as_png(mask), prompt="red", extra_body=MASKED)
    assert is_only_in(picture_of(answer), png(), (8, 0, 32, 64))


def test_a_masked_picture_stays_as_large_as_it_is(client: openai.OpenAI) -> None:
    mask = as_png(clear((0, 0, 40, 48), (72, 48)))
    answer = client.images.edit(
        image=[png(72, 48)], mask=mask, prompt="red", size="128x128", extra_body=MASKED
    )
    assert answer.size == "72x48"
    assert is_only_in(picture_of(answer), png(72, 48), (0, 0, 40, 48))


def test_parameters_that_mean_nothing_here_are_ignored(client: openai.OpenAI) -> None:
    answer = client.images.edit(
        image=png(),
        prompt="red",
        size="auto",
        background="opaque",
        quality="high",
        input_fidelity="high",
        user="somebody",
    )
    assert picture_of(answer).size == (64, 64)


def test_streaming_shows_partial_images_and_then_the_picture(folder: Path) -> None:
    knobs = Knobs(step_seconds=0.12)
    with serving(Config(port=0), [fake_served(folder, knobs=knobs)]) as server:
        stream = client_of(server).images.edit(
            image=png(),
            prompt="red",
            stream=True,
            partial_images=2,
            extra_body={"num_inference_steps": 12, "strength": 1.0, "seed": 3},
        )
        events: Any = list(stream)
    assert [event.type for event in events] == [
        "image_edit.partial_image",
        "image_edit.partial_image",
        "image_edit.completed",
    ]
    assert [event.partial_image_index for event in events[:2]] == [0, 1]
    for event in events:
        assert Image.open(io.BytesIO(base64.b64decode(event.b64_json))).format == "PNG"
    assert events[-1].size == "64x64"
    assert events[-1].usage.total_tokens == 0


def test_streaming_without_partial_images_is_one_event_a_picture(client: openai.OpenAI) -> None:
    events: Any = list(client.images.edit(image=png(), prompt="red", n=2, stream=True))
    assert [event.type for event in events] == ["image_edit.completed"] * 2


def test_a_failure_in_a_stream_is_raised(folder: Path) -> None:
    knobs = Knobs(failures=[SessionError("lost")])
    with (
        serving(Config(port=0), [fake_served(folder, knobs=knobs)]) as server,
        pytest.raises(openai.APIError, match="engine failed"),
    ):
        list(client_of(server).images.edit(image=png(), prompt="red", stream=True))


def test_models_are_listed_and_looked_up(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["fake", "second"]
    assert client.models.retrieve("second").object == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("none")


def test_the_model_is_chosen(client: openai.OpenAI) -> None:
    answer = client.images.edit(image=png(), prompt="red", model="second")
    assert '"model": "second"' in picture_of(answer).info["overpaint"]
    with pytest.raises(openai.NotFoundError) as error:
        client.images.edit(image=png(), prompt="red", model="gpt-image-9")
    assert (error.value.code, error.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize(
    ("more", "param", "code"),
    [
        ({"n": 11}, "n", "invalid_request"),
        ({"size": "huge"}, "size", "invalid_request"),
        ({"size": "65x64"}, "size", "invalid_request"),
        ({"partial_images": 4}, "partial_images", "invalid_request"),
        ({"output_format": "gif"}, "output_format", "invalid_request"),
        ({"extra_body": {"strength": 2}}, "strength", "invalid_request"),
        ({"extra_body": {"scheduler": "none"}}, "sampler", "invalid_request"),
        ({"extra_body": {"strenght": 0.5}}, "strenght", "unknown_parameter"),
        ({"mask": png()}, "mask", "invalid_image"),
        ({"mask": as_png(clear(size=(32, 64)))}, "mask", "invalid_image"),
        ({"mask": png(kind="JPEG")}, "mask", "invalid_image"),
        ({"mask": b"\x89PNG\r\n\x1a\nno"}, "mask", "not_an_image"),
        ({"image": [png(), png()]}, "image", "invalid_request"),
        ({"image": b"no picture"}, "image", "not_an_image"),
    ],
)
def test_a_wrong_parameter_is_a_400_that_names_it(
    client: openai.OpenAI, more: dict[str, Any], param: str, code: str
) -> None:
    arguments: dict[str, Any] = {"image": png(), "prompt": "red", **more}
    with pytest.raises(openai.APIStatusError) as error:
        client.images.edit(**arguments)
    assert error.value.status_code in (400, 415)
    assert (error.value.param, error.value.code) == (param, code)  # type: ignore[attr-defined]
    assert error.value.response.headers["x-error-id"]


def test_a_large_file_is_a_413(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as error:
        client.images.edit(image=bytes(11_000_000), prompt="red")
    assert error.value.status_code == 413


def test_the_api_key_is_the_token(folder: Path) -> None:
    token = "0123456789abcdef"
    with serving(Config(port=0, token=token), [fake_served(folder)]) as server:
        assert client_of(server, token).images.edit(image=png(), prompt="red").data
        with pytest.raises(openai.AuthenticationError) as error:
            client_of(server, "wrong").models.list()
        assert error.value.code == "invalid_api_key"


def test_a_full_queue_is_a_rate_limit_that_the_client_waits_out(folder: Path) -> None:
    knobs = Knobs(step_seconds=0.05)
    with serving(Config(port=0, queue=1), [fake_served(folder, knobs=knobs)]) as server:
        server.ended(server.submit(size="64x64", steps=4)["id"])  # measured: what to wait for
        knobs.gate.clear()
        server.until(server.submit(size="64x64", steps=4)["id"], "running")
        server.submit(size="64x64", steps=4)
        with pytest.raises(openai.RateLimitError):
            client_of(server).images.edit(image=png(), prompt="red")
        knobs.gate.set()
        assert client_of(server, retries=5).images.edit(image=png(), prompt="red").data


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_cancels_its_job(folder: Path, stream: bool) -> None:
    knobs = Knobs(step_seconds=0.05)
    with serving(Config(port=0), [fake_served(folder, knobs=knobs)]) as server:
        fields = {"prompt": "red", "num_inference_steps": "150", "strength": "1"}
        fields |= {"stream": "true"} if stream else {}
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                f"{server.url}/v1/images/edits",
                files={"image": ("a.png", png())},
                data=fields,
                timeout=0.6,
            )
        deadline = time.monotonic() + 5
        while server.state.jobs.busy:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert 0 < knobs.count("unet") < 100
        assert knobs.count("vae_decoder") == 0
