"""Pictures that FLUX.2 klein's denoiser looks at: the same picture as diffusers makes of them, by
Python, the command line and two APIs."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import openai
import pytest
import torch
from PIL import Image
from tests.parity import (
    KLEIN_STATES,
    LIMIT,
    SEED,
    Pixels,
    difference,
    klein_guidance,
    klein_inpainting,
    measured,
    photograph,
)
from tests.serve.running import data_url, serving

from overpaint.bundle.errors import UsageError
from overpaint.runtime import Img2Img
from overpaint.runtime.reference_images import LARGEST, read_reference_images
from overpaint.runtime.request import Request
from overpaint.runtime.settings import Settings
from overpaint.runtime.shown import Shown
from overpaint.runtime.tiles.windows import Window
from overpaint.serve.config import Config
from overpaint.serve.jobs.engines.bundles import Opening, served_bundle
from overpaint.serve.jobs.ledger import Accepted, Ledger
from overpaint.serve.jobs.protocol import Order

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

PROMPT = "this chair by the window"
SIZE = (64, 64)
PHOTO, ONE, OTHER = photograph(SIZE), photograph((64, 96)), photograph((77, 109))
FEW: dict[str, Any] = {"steps": 2, "seed": SEED}


@dataclass(frozen=True, slots=True)
class Both:
    """diffusers' two pipelines and ours."""

    text: Any
    inpainting: Any
    pipe: Img2Img


@pytest.fixture(scope="module")
def both(tiny_klein: Path, tiny_klein_bundle: Path) -> Both:
    text = diffusers.Flux2KleinPipeline.from_pretrained(tiny_klein)
    inpainting = klein_inpainting(text)
    for pipe in (text, inpainting):
        pipe.set_progress_bar_config(disable=True)
    return Both(text, inpainting, Img2Img.open(tiny_klein_bundle, device="cpu"))


def by_diffusers(pipe: Any, **asked: Any) -> Pixels:
    generator = torch.Generator().manual_seed(SEED)
    images = pipe(
        prompt=PROMPT, generator=generator, text_encoder_out_layers=KLEIN_STATES, **asked
    ).images
    return np.asarray(images[0])


@pytest.mark.parametrize("pictures", [(ONE,), (OTHER, ONE)], ids=len)
def test_a_picture_made_of_others_is_the_one_that_diffusers_makes(
    pictures: tuple[Image.Image, ...], both: Both
) -> None:
    width, height = SIZE
    asked = {"width": width, "height": height, "num_inference_steps": 2, "guidance_scale": 1.0}
    theirs = by_diffusers(both.text, image=list(pictures), **asked)
    made = both.pipe.text_to_image(PROMPT, size=SIZE, reference_image=pictures, **FEW)
    found = np.asarray(made.images[0])
    assert measured("flux2-klein", "reference pictures", theirs, found) <= LIMIT
    alone = both.pipe.text_to_image(PROMPT, size=SIZE, **FEW)
    assert difference(theirs, np.asarray(alone.images[0])) > 5 * LIMIT


def test_a_picture_repainted_beside_another_is_the_one_that_diffusers_makes(both: Both) -> None:
    """And under guidance: both of its sides look at both."""
    asked = {"strength": 0.6, "num_inference_steps": 3}
    guided = klein_guidance(both.inpainting, 3.0, "blurry")
    del guided["text_encoder_out_layers"]
    theirs = by_diffusers(
        both.inpainting,
        image=PHOTO,
        mask_image=Image.new("L", SIZE, 255),
        image_reference=OTHER,
        **asked,
        **guided,
    )
    options: dict[str, Any] = {"guidance_scale": 3.0, "negative_prompt": "blurry", "seed": SEED}
    made = both.pipe(PHOTO, PROMPT, strength=0.6, steps=3, reference_image=OTHER, **options)
    found = np.asarray(made.images[0])
    assert measured("flux2-klein", "reference pictures", theirs, found) <= LIMIT
    alone = both.pipe(PHOTO, PROMPT, strength=0.6, steps=3, **options)
    assert difference(theirs, np.asarray(alone.images[0])) > 3 * LIMIT
    assert made.parameters.as_dict()["reference_image_sha256"]
    assert not alone.parameters.as_dict()["reference_image_sha256"]


def test_a_large_picture_is_cut_as_diffusers_cuts_it(both: Both) -> None:
    large = photograph((1100, 1000))
    processor = both.text.image_processor
    smaller = processor._resize_to_target_area(large, LARGEST)
    width, height = (side // 16 * 16 for side in smaller.size)
    theirs = processor.preprocess(smaller, height=height, width=width, resize_mode="crop")
    [ours] = read_reference_images(both.pipe.bundle.manifest, [large]).pixels
    assert np.array_equal(theirs.numpy(), ours)


def test_the_picture_that_is_repainted_is_looked_at_whatever_the_strength(both: Both) -> None:
    """At the distilled checkpoint's own strength nothing of it is left to start from."""
    defaults = both.pipe.bundle.manifest.defaults
    assert (defaults.steps, defaults.strength, defaults.guidance_scale) == (4, 0.8, 1.0)
    assert defaults.distilled
    turned = PHOTO.transpose(Image.Transpose.ROTATE_180)
    one, other = (both.pipe(picture, PROMPT, seed=SEED) for picture in (PHOTO, turned))
    assert difference(np.asarray(one.images[0]), np.asarray(other.images[0])) > 5 * LIMIT
    assert not one.warnings


def test_each_tile_looks_at_its_own_part_of_the_picture_and_at_all_of_the_others() -> None:
    picture = np.arange(2 * 4 * 6, dtype=np.float32).reshape(1, 2, 4, 6)
    other = -np.ones((1, 2, 1, 2), np.float32)
    shown = Shown(picture=picture, others=(other,)).of(Window(1, 2, 2, 3))
    fed = shown.inputs(channels=2)
    part = picture[0, :, 1:3, 2:5].reshape(2, 6).T
    assert np.array_equal(fed["reference_states"], [[*part, *other.reshape(2, 2).T]])
    own = [(10, row, column, 0) for row in range(2) for column in range(3)]
    assert np.array_equal(fed["reference_places"], [*own, (20, 0, 0, 0), (20, 0, 1, 0)])
    none = Shown(picture=None, others=()).inputs(channels=2)
    assert [array.shape for array in none.values()] == [(1, 0, 2), (0, 4)]


def test_a_picture_in_tiles_is_painted_beside_others(both: Both) -> None:
    wide = photograph((128, 64))
    asked: dict[str, Any] = {"strength": 0.6, "steps": 2, "seed": SEED, "tile": "64x64"}
    with_it = both.pipe(wide, PROMPT, reference_image=ONE, **asked).images[0]
    without = both.pipe(wide, PROMPT, **asked).images[0]
    assert with_it.size == wide.size
    assert difference(np.asarray(with_it), np.asarray(without)) > 3 * LIMIT


def test_what_cannot_be_looked_at_is_refused(both: Both, tiny_sd1_bundle: Path) -> None:
    with pytest.raises(UsageError, match=r"reference_image: expected 4 at most, got 5"):
        both.pipe(PHOTO, PROMPT, reference_image=[ONE] * 5)
    with pytest.raises(UsageError, match=r"sides of at least 16 pixels, got 40x9"):
        both.pipe(PHOTO, PROMPT, reference_image=photograph((40, 9)))
    with pytest.raises(UsageError, match=r"live: .* looks at each picture in every step"):
        both.pipe.live(PROMPT)(PHOTO)
    with (
        Img2Img.open(tiny_sd1_bundle) as pipe,
        pytest.raises(UsageError, match=r"reference_image: .* looks at no pictures beside"),
    ):
        pipe(PHOTO, PROMPT, reference_image=ONE)


def as_png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def test_the_command_line_and_both_apis_show_the_same_pictures(
    both: Both, tiny_klein_bundle: Path, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"strength": 0.6, "steps": 2, "seed": SEED}
    wanted = np.asarray(both.pipe(PHOTO, PROMPT, reference_image=ONE, **asked).images[0])
    PHOTO.save(tmp_path / "photo.png")
    ONE.save(tmp_path / "chair.png")
    command = [Path(sys.executable).with_name("overpaint"), "run", "photo.png", PROMPT]
    command += ["--bundle", tiny_klein_bundle, "--strength", "0.6", "--steps", "2"]
    command += ["--seed", str(SEED), "--device", "cpu", "-o", "out.png"]
    command += ["--reference-image", "chair.png"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert difference(wanted, np.asarray(Image.open(tmp_path / "out.png"))) == 0

    pictures = {"image": data_url(as_png(PHOTO)), "reference_image": [data_url(as_png(ONE))]}
    with serving(Config(port=0), [served_bundle(tiny_klein_bundle, Opening(device="cpu"))]) as run:
        placed = run.client.post("/v1/jobs", json={"prompt": PROMPT, **pictures, **asked})
        assert placed.status_code == 202, placed.text
        ended = run.ended(placed.json()["id"], 120)
        assert difference(wanted, run.pixels(ended["result"]["media"][0])) == 0
        client = openai.OpenAI(base_url=f"{run.url}/v1", api_key="none")
        edited = client.images.edit(
            image=[("photo.png", as_png(PHOTO)), ("chair.png", as_png(ONE))],
            prompt=PROMPT,
            extra_body={"strength": 0.6, "num_inference_steps": 2, "seed": SEED},
        )
    assert edited.data is not None
    png = base64.b64decode(edited.data[0].b64_json or "")
    assert difference(wanted, np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))) == 0


def test_a_job_that_is_kept_keeps_them(tmp_path: Path) -> None:
    order = Order(
        model="klein",
        prompt=PROMPT,
        image=b"photo",
        reference_image=(b"one", b"other"),
        settings=Settings(),
    )
    ledger = Ledger(tmp_path, 1 << 20, print)
    job = Accepted(id="a" * 22, order=order, bundle="b", provider="local", ticket="t")
    ledger.put(job)
    [(_, found)] = Ledger(tmp_path, 1 << 20, print).take_up()
    assert found is not None
    assert found.order == order
    assert Request(None, PROMPT, reference_image=(b"one",)).reference_image == (b"one",)
