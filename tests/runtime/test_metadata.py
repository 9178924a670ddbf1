"""A picture carries the parameters that made it."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from overpaint.bundle.errors import ImageError
from overpaint.bundle.facts import Defaults
from overpaint.bundle.format.manifest import Lora
from overpaint.runtime.metadata import Painting, Parameters, read_parameters
from overpaint.runtime.resolved import resolve
from overpaint.runtime.settings import Settings, options

DEFAULTS = Defaults(steps=20, guidance_scale=7.5, strength=0.8)
ASKED = Settings(negative_prompt="blurry", strength=0.6, sampler="euler-a", sigmas="karras", seed=7)


def parameters(settings: Settings = ASKED, *, with_image: bool = True) -> Parameters:
    return Parameters(
        prompt="夏 → winter, «at night» 🌙",
        resolved=resolve(settings, DEFAULTS, with_image=with_image),
        seed=7,
        image_sha256=None,
        mask_sha256=None,
        steps_run=12,
        sampler_run="euler-a",
        guidance="classifier-free",
        size=(64, 48),
        model="tiny",
        model_sha256="0" * 64,
        loras=(Lora(name="ink", sha256="1" * 64, weight=0.8),),
        refiner=None,
        refiner_sha256=None,
        hand_over=None,
        precision="float32",
        device="NumPy",
    )


PARAMETERS = parameters()


def painting(of: Parameters = PARAMETERS) -> Painting:
    return Painting.of(Image.new("RGB", (64, 48), "teal"), of)


def test_a_png_gives_every_parameter_back(tmp_path: Path) -> None:
    painting().save(tmp_path / "out.png")
    found = read_parameters(tmp_path / "out.png")
    assert found.pop("version")
    assert found == {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in PARAMETERS.as_dict().items()
    }
    assert (found["strength"], found["steps"], found["size"]) == (0.6, 20, [64, 48])


def test_every_option_of_a_run_is_among_them() -> None:
    told = PARAMETERS.as_dict()
    assert set(options()) - set(told) == {"n", "seeds", "reference_strength"}


def test_a_png_carries_the_line_that_the_fields_tools_show(tmp_path: Path) -> None:
    painting().save(str(tmp_path / "out.png"))
    with Image.open(tmp_path / "out.png") as image:
        prompt, negative, rest = image.info["parameters"].split("\n")
    assert prompt == f"{PARAMETERS.prompt} <lora:ink:0.8>"
    assert negative == "Negative prompt: blurry"
    assert rest.startswith(
        "Steps: 20, Sampler: Euler a, Schedule type: Karras, CFG scale: 7.5, Seed: 7, Size: 64x48, "
        "Model: tiny, Denoising strength: 0.6, Version: overpaint "
    )


def test_an_absent_negative_prompt_is_no_line_and_text_to_image_no_strength() -> None:
    text = parameters(Settings(size=(64, 48)), with_image=False).infotext()
    assert "Negative" not in text
    assert "Denoising" not in text


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_jpeg_and_webp_carry_it_as_a_user_comment(suffix: str, tmp_path: Path) -> None:
    painting().save(tmp_path / f"out{suffix}")
    with Image.open(tmp_path / f"out{suffix}") as image:
        comment = image.getexif().get_ifd(0x8769)[0x9286]
    assert comment.startswith(b"UNICODE\0")
    assert comment[8:].decode("utf-16-be").startswith(PARAMETERS.prompt)


def test_a_file_object_is_served_as_a_path_is() -> None:
    buffer = io.BytesIO()
    painting().save(buffer, "PNG")
    assert "overpaint" in Image.open(io.BytesIO(buffer.getvalue())).info


def test_the_pixels_are_the_pictures_own(tmp_path: Path) -> None:
    painting().save(tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        assert image.tobytes() == Image.new("RGB", (64, 48), "teal").tobytes()


def test_a_picture_that_is_not_ours_has_no_parameters(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.png")
    with pytest.raises(ImageError, match="carries no parameters"):
        read_parameters(tmp_path / "plain.png")


COPIES: dict[str, Callable[[Painting], Painting]] = {
    "pickle": lambda image: pickle.loads(pickle.dumps(image)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "its own copy": Painting.copy,
}


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_is_a_painting_that_carries_its_parameters(how: str, tmp_path: Path) -> None:
    copied = COPIES[how](painting())
    copied.save(tmp_path / "out.png")
    painting().save(tmp_path / "itself.png")
    assert (tmp_path / "out.png").read_bytes() == (tmp_path / "itself.png").read_bytes()
