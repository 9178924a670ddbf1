"""One mask, the same settings: three APIs, curl, the command line and Python give one picture."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
import webuiapi
from PIL import Image
from tests.programs import needed
from tests.serve.masks import Pixels, clear, is_only_in, white
from tests.serve.running import Running, serving

from overpaint.runtime import Img2Img
from overpaint.serve.config import Config
from overpaint.serve.jobs.engines.bundles import Opening, served_bundle

OVERPAINT = Path(sys.executable).with_name("overpaint")
EXAMPLE = Path(__file__).parents[2] / "examples" / "summer.png"
SIZE, BOX, PROMPT = (96, 64), (16, 8, 72, 48), "winter mountains at night"
STEPS, STRENGTH, GUIDANCE, SEED, FOG = 4, 0.9, 3.0, 7, "fog"


@pytest.fixture(scope="module")
def embedded() -> Iterator[Running]:
    with serving(Config(port=0), [served_bundle(None, Opening(device="cpu"))]) as running:
        yield running


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a photo, and its mask as each face has it."""
    folder = tmp_path_factory.mktemp("desk")
    with Image.open(EXAMPLE) as example:
        example.convert("RGB").resize(SIZE).save(folder / "photo.png")
    white(BOX, SIZE).save(folder / "mask.png")
    clear(BOX, SIZE).save(folder / "clear.png")
    return folder


def by_python(desk: Path, **more: Any) -> Pixels:
    with Img2Img.open(device="cpu") as pipe:
        result = pipe(
            desk / "photo.png",
            PROMPT,
            mask=desk / "mask.png",
            steps=STEPS,
            strength=STRENGTH,
            guidance_scale=GUIDANCE,
            seed=SEED,
            negative_prompt=FOG,
            sampler="ddim",
            size=SIZE,
            **more,
        )
    return np.asarray(result.images[0])


def by_command_line(desk: Path, *more: str) -> Pixels:
    command = f"run photo.png --mask mask.png --steps {STEPS} --strength {STRENGTH} --seed {SEED}"
    command += f" --guidance-scale {GUIDANCE} --negative-prompt {FOG} --sampler ddim --device cpu"
    command += f" --size {SIZE[0]}x{SIZE[1]} -o painted.png --force"
    arguments = [*command.split(), PROMPT, *more]
    run = subprocess.run([OVERPAINT, *arguments], cwd=desk, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return np.asarray(Image.open(desk / "painted.png"))


def by_curl(desk: Path, server: Running, **more: Any) -> Pixels:
    """The native API: two uploads and a job."""

    def curl(path: str, *arguments: str) -> Any:
        command = [needed("curl"), "-sf", f"{server.url}{path}", *arguments]
        return json.loads(subprocess.run(command, cwd=desk, capture_output=True, check=True).stdout)

    uploads = {
        name: curl("/v1/uploads", "-F", f"file=@{file}")["id"]
        for name, file in (("image", "photo.png"), ("mask", "mask.png"))
    }
    body = uploads | {
        "prompt": PROMPT,
        "steps": STEPS,
        "strength": STRENGTH,
        "guidance_scale": GUIDANCE,
        "seed": SEED,
        "negative_prompt": FOG,
        "sampler": "ddim",
        "size": f"{SIZE[0]}x{SIZE[1]}",
        **more,
    }
    job = curl("/v1/jobs", "-H", "Content-Type: application/json", "-d", json.dumps(body))
    return server.pixels(server.ended(job["id"], 120)["result"]["media"][0])


def by_openai(desk: Path, server: Running) -> Pixels:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    answer = client.images.edit(
        image=desk / "photo.png",
        mask=desk / "clear.png",
        prompt=PROMPT,
        size="x".join(map(str, SIZE)),  # type: ignore[arg-type]
        extra_body={
            "num_inference_steps": STEPS,
            "strength": STRENGTH,
            "guidance_scale": GUIDANCE,
            "seed": SEED,
            "negative_prompt": FOG,
            "scheduler": "ddim",
        },
    )
    png = base64.b64decode((answer.data or [])[0].b64_json or "")
    return np.asarray(Image.open(io.BytesIO(png)))


def by_webui(desk: Path, server: Running, **more: Any) -> Pixels:
    asked: dict[str, Any] = {"mask_blur": 0, "inpainting_fill": 1, "inpaint_full_res": False}
    result = webuiapi.WebUIApi(port=server.port).img2img(
        images=[Image.open(desk / "photo.png")],
        mask_image=Image.open(desk / "mask.png"),
        prompt=PROMPT,
        steps=STEPS,
        denoising_strength=STRENGTH,
        cfg_scale=GUIDANCE,
        seed=SEED,
        negative_prompt=FOG,
        sampler_name="DDIM",
        width=SIZE[0],
        height=SIZE[1],
        **(asked | more),
    )
    return np.asarray(result.image)


def test_a_mask_gives_the_same_pixels_wherever_it_is_asked_for(
    desk: Path, embedded: Running
) -> None:
    alone = by_python(desk)
    assert is_only_in(alone, Image.open(desk / "photo.png"), BOX)
    assert np.array_equal(by_command_line(desk), alone)
    assert np.array_equal(by_curl(desk, embedded), alone)
    assert np.array_equal(by_openai(desk, embedded), alone)
    assert np.array_equal(by_webui(desk, embedded), alone)


def test_so_do_its_options_where_a_face_has_them(desk: Path, embedded: Running) -> None:
    alone = by_python(desk, mask_blur=2, mask_fill="blur", mask_padding=4)
    assert not np.array_equal(alone, by_python(desk))
    flags = ["--mask-blur", "2", "--mask-fill", "blur", "--mask-padding", "4"]
    assert np.array_equal(by_command_line(desk, *flags), alone)
    curled = by_curl(desk, embedded, mask_blur=2, mask_fill="blur", mask_padding=4)
    assert np.array_equal(curled, alone)
    theirs = {"mask_blur": 2, "inpainting_fill": 0, "inpaint_full_res": True}
    webui = by_webui(desk, embedded, **theirs, inpaint_full_res_padding=4)
    assert np.array_equal(webui, alone)
