"""The AUTOMATIC1111 face, driven by the unmodified `webuiapi` package through a real socket."""

from __future__ import annotations

import base64
import io
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import webuiapi
from PIL import Image
from tests.serve.engine import Knobs, fake_served
from tests.serve.masks import as_png, clear, is_only_in, repainted, white
from tests.serve.running import Running, data_url, png, serving

from overpaint.serve.config import Config


def api_of(server: Running, **options: Any) -> webuiapi.WebUIApi:
    return webuiapi.WebUIApi(host="127.0.0.1", port=server.port, **options)


@pytest.fixture
def api(server: Running) -> webuiapi.WebUIApi:
    return api_of(server)


def photo(width: int = 64, height: int = 64) -> Image.Image:
    return Image.open(io.BytesIO(png(width, height)))


SMALL: dict[str, Any] = {"width": 64, "height": 64, "steps": 6}


RAW_MASK = base64.b64encode(as_png(white())).decode()


def post(server: Running, path: str, **body: Any) -> httpx.Response:
    return server.client.post(f"/sdapi/v1/{path}", json=body)


def test_img2img_gives_the_pixels_that_the_native_api_gives(
    server: Running, api: webuiapi.WebUIApi
) -> None:
    result = api.img2img(
        images=[photo()],
        prompt="green",
        negative_prompt="red",
        denoising_strength=0.7,
        cfg_scale=3,
        seed=5,
        sampler_name="DDIM",
        **SMALL,
    )
    job = server.submit(
        image=data_url(png()),
        prompt="green",
        negative_prompt="red",
        strength=0.7,
        guidance_scale=3,
        seed=5,
        sampler="ddim",
        size="64x64",
        steps=6,
    )
    media = server.ended(job["id"])["result"]["media"][0]
    assert np.array_equal(np.asarray(result.image), server.pixels(media))


def test_words_are_weighed_as_that_servers_users_type_them(
    server: Running, api: webuiapi.WebUIApi
) -> None:
    def pixels(prompt: str) -> np.ndarray:
        result = api.img2img(images=[photo()], prompt=prompt, seed=5, cfg_scale=1, **SMALL)
        return np.asarray(result.image, int)

    plain = pixels("a red picture")
    assert np.array_equal(pixels("a (red:1.0) picture"), plain), "the brackets are no text"
    assert np.abs(pixels("a (red:1.4) picture") - plain).max() > 2
    assert not np.array_equal(pixels("a (red:1.4) picture"), pixels("a [red] picture"))


def test_the_info_and_the_png_say_how_it_was_made(api: webuiapi.WebUIApi) -> None:
    result = api.img2img(images=[photo()], prompt="red", seed=5, batch_size=2, n_iter=2, **SMALL)
    assert len(result.images) == 4
    assert result.info["all_seeds"] == [5, 6, 7, 8]
    assert result.info["sampler_name"] == "Euler a"
    assert result.info["denoising_strength"] == 0.75
    assert "Steps: 6, Sampler: Euler a, CFG scale: 7, Seed: 5" in result.info["infotexts"][0]
    assert result.image.info["parameters"] == result.info["infotexts"][0]
    assert result.parameters["denoising_strength"] == 0.75
    assert result.parameters["init_images"] is None


def test_the_first_picture_of_a_batch_is_the_one_of_its_seed(api: webuiapi.WebUIApi) -> None:
    many = api.img2img(images=[photo()], prompt="red", seed=5, batch_size=3, **SMALL)
    one = api.img2img(images=[photo()], prompt="red", seed=7, **SMALL)
    assert np.array_equal(np.asarray(many.images[2]), np.asarray(one.image))


def test_txt2img_paints_from_the_prompt(api: webuiapi.WebUIApi) -> None:
    result = api.txt2img(prompt="red", seed=0, width=64, height=48, steps=4)
    assert result.image.size == (64, 48)
    assert result.info["seed"] == 0
    assert result.info["denoising_strength"] is None


def test_the_hires_fix_is_a_second_pass_on_the_enlarged_picture(
    server: Running, api: webuiapi.WebUIApi
) -> None:
    result = api.txt2img(
        prompt="red",
        seed=5,
        enable_hr=True,
        hr_scale=2,
        hr_second_pass_steps=3,
        denoising_strength=0.5,
        **SMALL,
    )
    assert result.image.size == (128, 128)
    assert (
        "Denoising strength: 0.5, Hires upscale: 2, Hires steps: 3" in result.info["infotexts"][0]
    )
    refused = post(server, "txt2img", prompt="red", enable_hr=True, hr_resize_x=128, **SMALL)
    assert (refused.status_code, refused.json()["detail"][:11]) == (422, "hr_resize_x")


def test_subseeds_vary_one_seed(api: webuiapi.WebUIApi) -> None:
    asked = {"prompt": "red", "seed": 5, "subseed_strength": 0.3, **SMALL}
    result = api.txt2img(subseed=9, batch_size=2, **asked)
    assert (result.info["seed"], result.info["all_seeds"]) == (5, [5, 5])
    assert (result.info["all_subseeds"], result.info["subseed_strength"]) == ([9, 10], 0.3)
    again = api.txt2img(subseed=10, **asked)
    assert again.image.tobytes() == result.images[1].tobytes()


def test_clip_skip_is_counted_as_there(server: Running) -> None:
    """The stand-in's encoder gives its last layer alone, and says so."""
    answer = post(server, "txt2img", override_settings={"CLIP_stop_at_last_layers": 2}, **SMALL)
    assert answer.status_code == 422
    assert "clip_skip: the graph of text_encoder gives no earlier layer" in answer.json()["detail"]
    plain = post(server, "txt2img", override_settings={"CLIP_stop_at_last_layers": 1}, **SMALL)
    assert '"clip_skip": 1' in plain.json()["info"]


def test_a_seed_of_minus_one_is_random_and_told(api: webuiapi.WebUIApi) -> None:
    seeds = {api.txt2img(prompt="red", **SMALL).info["seed"] for _ in range(3)}
    assert len(seeds) == 3
    assert min(seeds) >= 0


def masked(api: webuiapi.WebUIApi, mask: Image.Image, **more: Any) -> Image.Image:
    asked = {"seed": 5, "cfg_scale": 1, "denoising_strength": 1, "sampler_name": "DDIM", **SMALL}
    usual = {"images": [photo()], "mask_blur": 0, "inpainting_fill": 1}
    return api.img2img(mask_image=mask, prompt="red", **{**asked, **usual, **more}).image


def test_what_is_white_in_the_mask_is_repainted(api: webuiapi.WebUIApi) -> None:
    for whole in (True, False):
        assert is_only_in(masked(api, white(), inpaint_full_res=not whole), photo())
    right = masked(api, white((32, 0, 64, 64)))
    assert np.array_equal(masked(api, white(), inpainting_mask_invert=1), right)


def test_where_a_mask_has_transparency_what_is_more_than_half_opaque_counts(
    api: webuiapi.WebUIApi,
) -> None:
    mask = Image.new("RGBA", (64, 64), (255, 255, 255, 128))
    mask.paste((0, 0, 0, 129), (0, 0, 32, 64))
    assert np.array_equal(masked(api, mask), masked(api, white()))
    assert np.array_equal(masked(api, clear()), masked(api, white((32, 0, 64, 64))))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"mask_blur": 3}, {"mask_blur": 3}),
        ({"mask_blur": 0, "inpainting_fill": 0}, {"mask_fill": "blur"}),
        ({"mask_blur": 0, "inpainting_fill": 2}, {"mask_fill": "noise"}),
        ({"mask_blur": 0, "inpainting_fill": 3}, {"mask_fill": "nothing"}),
        (
            {"inpaint_full_res": True, "inpaint_full_res_padding": 6},
            {"mask_padding": 6},
        ),
    ],
)
def test_a_masks_options_are_the_native_ones(
    server: Running, api: webuiapi.WebUIApi, theirs: dict[str, Any], ours: dict[str, Any]
) -> None:
    body = {"strength": 1, "seed": 5, "guidance_scale": 1, "sampler": "ddim", "steps": 6}
    body |= {"negative_prompt": "", "size": "64x64", "mask": data_url(as_png(white())), **ours}
    job = server.submit(image=data_url(png()), **body)
    media = server.ended(job["id"])["result"]["media"][0]
    painted = masked(api, white(), **{"inpaint_full_res": False, **theirs})
    assert np.array_equal(np.asarray(painted), server.pixels(media))


def test_a_blur_may_be_given_for_both_ways_at_once(server: Running) -> None:
    raw = {"init_images": [base64.b64encode(png()).decode()], "mask": RAW_MASK, **SMALL, "seed": 5}
    one = post(server, "img2img", **raw, mask_blur_x=3, mask_blur_y=3).json()["images"]
    assert one == post(server, "img2img", **raw, mask_blur=3, mask_blur_x=9).json()["images"]
    usual = post(server, "img2img", **raw, mask_blur=4).json()["images"]
    assert usual == post(server, "img2img", **raw).json()["images"]


def test_the_asked_size_is_that_of_the_result_and_only_masked_keeps_the_pictures(
    api: webuiapi.WebUIApi,
) -> None:
    wide, mask = photo(128, 64), white((0, 0, 64, 64), (128, 64))
    brought = wide.resize((64, 64), Image.Resampling.LANCZOS)
    changed = repainted(masked(api, mask, images=[wide], inpaint_full_res=False), brought)
    assert changed[:, :30].mean() > 0.5
    assert not changed[:, 36:].any()  # but for the edge, which was resized
    assert is_only_in(masked(api, mask, images=[wide]), wide, (0, 0, 64, 64))


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_a_picture_meets_the_size_by_the_resize_mode(
    server: Running, api: webuiapi.WebUIApi, mode: int
) -> None:
    result = api.img2img(
        images=[photo(128, 64)],
        prompt="red",
        resize_mode=mode,
        denoising_strength=0,
        seed=1,
        **SMALL,
    )
    resize = ["stretch", "crop", "pad", "latents"][mode]
    body = {"strength": 0, "seed": 1, "size": "64x64", "resize": resize, "steps": 6}
    job = server.submit(image=data_url(png(128, 64)), sampler="euler-a", **body)
    media = server.ended(job["id"])["result"]["media"][0]
    assert np.array_equal(np.asarray(result.image), server.pixels(media))


@pytest.mark.parametrize(
    ("names", "sampler", "sigmas"),
    [
        ({"sampler_name": "Euler a"}, "euler-a", "default"),
        ({"sampler_name": "euler a", "scheduler": "automatic"}, "euler-a", "default"),
        ({"sampler_name": "DPM++ 2M", "scheduler": "karras"}, "dpmpp-2m", "karras"),
        ({"sampler_name": "DPM++ 2M Karras"}, "dpmpp-2m", "karras"),
        ({"sampler_name": "DPM++ 2M", "scheduler": "Exponential"}, "dpmpp-2m", "exponential"),
        ({"sampler_index": "Heun"}, "heun", "default"),
        ({"sampler_name": "unipc"}, "unipc", "default"),
        ({}, "default", "default"),
    ],
)
def test_samplers_are_known_by_their_names_there(
    server: Running, names: dict[str, str], sampler: str, sigmas: str
) -> None:
    answer = post(server, "txt2img", prompt="red", **SMALL, **names)
    assert answer.status_code == 200, answer.text
    image = Image.open(io.BytesIO(base64.b64decode(answer.json()["images"][0])))
    assert f'"sampler": "{sampler}"' in image.info["overpaint"]
    assert f'"sigmas": "{sigmas}"' in image.info["overpaint"]


def test_every_sampler_that_is_listed_is_taken(api: webuiapi.WebUIApi) -> None:
    names = api.util_get_sampler_names()
    assert "Euler a" in names
    assert "DPM++ 2M" in names
    for name in sorted({"Euler", "Euler a", "DDIM", "UniPC", "DPM++ 2M SDE"} & set(names)):
        assert api.txt2img(prompt="red", sampler_name=name, **SMALL).info["sampler_name"] == name
    assert "automatic" in api.util_get_scheduler_names()


def test_an_unknown_sampler_is_a_404_in_their_words(server: Running) -> None:
    answer = post(server, "txt2img", prompt="red", sampler_name="None such")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Sampler not found"})


def test_raw_base64_and_data_urls_are_taken(server: Running) -> None:
    raw = base64.b64encode(png()).decode()
    for image in (raw, f"data:image/png;base64,{raw}"):
        answer = post(server, "img2img", init_images=[image], prompt="red", **SMALL)
        assert answer.status_code == 200
        assert len(answer.json()["images"]) == 1


def test_images_can_be_left_out_and_put_in(server: Running) -> None:
    raw = base64.b64encode(png()).decode()
    body = {"init_images": [raw], "prompt": "red", **SMALL}
    answer = post(server, "img2img", **body, send_images=False, include_init_images=True).json()
    assert answer["images"] == []
    assert answer["parameters"]["init_images"] == [raw]


@pytest.mark.parametrize(
    "more",
    [
        {"script_name": "SD upscale"},
        {"alwayson_scripts": {"ADetailer": {"args": []}}},
        {"alwayson_scripts": {"ControlNet": {"args": [{"model": "canny", "module": "canny"}]}}},
        {"alwayson_scripts": {"ControlNet": {"args": ["canny"]}}},
        {"mask": "?"},
        {"mask": RAW_MASK, "mask_blur_x": 3, "mask_blur_y": 4},
        {"mask": RAW_MASK, "mask_blur": -1},
        {"mask": RAW_MASK, "inpainting_fill": 4},
        {"mask": RAW_MASK, "latent_mask": RAW_MASK},
        {"init_images": []},
        {"init_images": ["?"]},
        {"denoising_strength": 2},
        {"width": 65},
        {"steps": 0},
        {"batch_size": 4, "n_iter": 4},
    ],
)
def test_what_would_change_the_picture_and_cannot_be_done_is_refused(
    server: Running, more: dict[str, Any]
) -> None:
    raw = base64.b64encode(png()).decode()
    answer = post(server, "img2img", **{"init_images": [raw], "prompt": "red", **SMALL, **more})
    assert answer.status_code == 422
    assert set(answer.json()) == {"detail"}


def test_scripts_that_are_there_but_empty_are_no_matter(api: webuiapi.WebUIApi) -> None:
    assert api.txt2img(prompt="red", alwayson_scripts={}, script_name=None, **SMALL).images


def test_the_model_is_chosen_for_one_request_or_for_all(folder: Path) -> None:
    served = [fake_served(folder, "first"), fake_served(folder, "second")]
    with serving(Config(port=0), served) as server:
        api = api_of(server)
        assert [model["title"] for model in api.get_sd_models()] == ["first", "second"]
        assert api.util_get_current_model() == "first"
        once = api.txt2img(
            prompt="red", override_settings={"sd_model_checkpoint": "second"}, **SMALL
        )
        assert once.info["sd_model_name"] == "second"
        assert api.util_get_current_model() == "first"
        api.util_set_model("second")
        assert api.txt2img(prompt="red", **SMALL).info["sd_model_name"] == "second"
        assert post(server, "options", sd_model_checkpoint="third").status_code == 404


def test_progress_is_told_and_idle_is_nothing(folder: Path) -> None:
    knobs = Knobs(step_seconds=0.12)
    with serving(Config(port=0), [fake_served(folder, knobs=knobs)]) as server:
        api = api_of(server)
        idle = api.get_progress()
        assert (idle["progress"], idle["state"]["job_count"]) == (0, 0)
        seen = []
        body = {"prompt": "red", "width": 64, "height": 64, "steps": 8, "force_task_id": "mine"}
        work = threading.Thread(target=post, args=(server, "txt2img"), kwargs=body)
        work.start()
        while work.is_alive():
            seen.append(httpx.get(f"{server.url}/sdapi/v1/progress").json())
            time.sleep(0.03)
        running = [one for one in seen if one["state"]["sampling_step"]]
        shares = [one["progress"] for one in running]
        assert shares == sorted(shares)
        assert 0 < shares[0] < 1
        assert {one["current_task"] for one in running} == {"mine"}
        assert running[-1]["state"]["sampling_steps"] == 8
        preview = base64.b64decode(running[-1]["current_image"])
        assert Image.open(io.BytesIO(preview)).size == (256, 256)
        api.util_wait_for_ready()


def test_interrupt_ends_the_job_under_way_without_an_error(folder: Path) -> None:
    knobs = Knobs(step_seconds=0.05)
    with serving(Config(port=0), [fake_served(folder, knobs=knobs)]) as server:
        results: list[Any] = []
        work = threading.Thread(
            target=lambda: results.append(
                api_of(server).txt2img(prompt="red", width=64, height=64, steps=150)
            )
        )
        work.start()
        deadline = time.monotonic() + 10
        while not knobs.count("unet"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        api_of(server).interrupt()
        work.join(10)
        assert results[0].images == []
        assert knobs.count("vae_decoder") == 0
        assert api_of(server).get_progress()["state"]["job_count"] == 0


def test_png_info_reads_what_img2img_wrote(api: webuiapi.WebUIApi, server: Running) -> None:
    result = api.txt2img(prompt="a red picture", seed=9, **SMALL)
    info = api.png_info(result.image).info
    assert info.startswith("a red picture")
    assert "Seed: 9" in info
    assert post(server, "png-info", image=base64.b64encode(b"no").decode()).status_code == 422
    plain = post(server, "png-info", image=base64.b64encode(png()).decode()).json()
    assert plain == {"info": "", "items": {}, "parameters": {}}


def test_the_lists_that_clients_ask_for_are_there(api: webuiapi.WebUIApi) -> None:
    assert api.get_scripts() == {"txt2img": [], "img2img": []}
    for names in (
        api.get_upscalers(),
        api.get_sd_vae(),
        api.get_loras(),
        api.get_prompt_styles(),
    ):
        assert names == []
    assert api.get_latent_upscale_modes() == [{"name": "Latent"}]
    assert api.get_embeddings() == {"loaded": {}, "skipped": {}}
    assert api.get_cmd_flags()
    assert api.get_memory()["ram"]["total"] > 0


def test_the_token_is_the_password(folder: Path) -> None:
    token = "0123456789abcdef"
    with serving(Config(port=0, token=token), [fake_served(folder)]) as server:
        api = api_of(server, username="anybody", password=token)
        assert api.txt2img(prompt="red", **SMALL).images
        with pytest.raises(RuntimeError, match="401"):
            api_of(server, username="anybody", password="wrong").txt2img(prompt="red", **SMALL)
