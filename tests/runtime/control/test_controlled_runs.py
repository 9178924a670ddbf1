"""What a pipeline with control networks does, and what it leaves as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.conftest import Tiny
from tests.parity import Pixels, photograph

from overpaint.bundle import layout
from overpaint.bundle.errors import BundleError, UsageError
from overpaint.runtime import Control, Img2Img
from overpaint.runtime.metadata import read_parameters

RUN: dict[str, Any] = {
    "steps": 4,
    "strength": 0.75,
    "guidance_scale": 3.0,
    "seed": 5,
    "sampler": "euler",
}
MAP = photograph((64, 64)).rotate(90)


@pytest.fixture(scope="module")
def networks(controlnet: Callable[..., Tiny]) -> list[Path]:
    return [controlnet("sd1", name, seed=at).bundle for at, name in ((1, "canny"), (2, "second"))]


@pytest.fixture(scope="module")
def plain(tiny_sd1_bundle: Path) -> Iterator[Img2Img]:
    with Img2Img.open(tiny_sd1_bundle, device="cpu") as pipe:
        yield pipe


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Extensions are made here, of the bundle of this run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def pipe(tiny_sd1_bundle: Path, networks: list[Path], own_cache: None) -> Iterator[Img2Img]:
    with Img2Img.open(tiny_sd1_bundle, control=networks, device="cpu") as opened:
        yield opened


def painted(pipe: Img2Img, control: dict[str, Control] | None = None, **options: Any) -> Pixels:
    result = pipe(photograph((64, 64)), "a lynx", control=control, **(RUN | options))
    return np.stack([np.asarray(image) for image in result.images])


def test_a_run_without_control_is_the_bases_own_to_the_bit(plain: Img2Img, pipe: Img2Img) -> None:
    before = painted(plain)
    for _ in range(2):
        assert np.array_equal(before, painted(pipe))
        assert not np.array_equal(before, painted(pipe, {"canny": Control(MAP)}))


def test_one_of_the_two_denoisers_is_open_at_a_time(pipe: Img2Img) -> None:
    for control in ({"canny": Control(MAP)}, None):
        painted(pipe, control)
        names = [one for one in pipe.engines.components._opening if one.startswith("unet")]
        assert names == ["unet" if control else "unet:plain"]


def test_at_scale_nought_it_is_the_picture_without(plain: Img2Img, pipe: Img2Img) -> None:
    assert np.array_equal(painted(plain), painted(pipe, {"canny": Control(MAP, scale=0)}))


def test_where_no_network_acts_none_is_called(pipe: Img2Img, plain: Img2Img) -> None:
    """Of three steps none lies whole between 0.4 and 0.6."""
    assert np.array_equal(painted(plain), painted(pipe, {"canny": Control(MAP, 1, 0.4, 0.6)}))


def test_a_picture_does_not_depend_on_its_batch(pipe: Img2Img) -> None:
    control = {"canny": Control(MAP, 0.7), "second": Control(MAP, 0.5)}
    three = painted(pipe, control, n=3)
    for at, one in enumerate(three):
        alone = painted(pipe, control, seed=RUN["seed"] + at)[0]
        assert np.abs(one.astype(int) - alone.astype(int)).max() <= 1


def test_in_little_memory_the_picture_is_the_same(
    pipe: Img2Img, tiny_sd1_bundle: Path, networks: list[Path]
) -> None:
    control = {"canny": Control(MAP, 0.7)}
    with Img2Img.open(tiny_sd1_bundle, control=networks, device="cpu", low_memory=True) as frugal:
        assert np.array_equal(painted(pipe, control), painted(frugal, control))


def test_openvino_paints_the_same_picture(
    pipe: Img2Img, tiny_sd1_bundle: Path, networks: list[Path]
) -> None:
    pytest.importorskip("openvino")
    control = {"canny": Control(MAP, 0.7)}
    with Img2Img.open(tiny_sd1_bundle, control=networks, device="openvino") as other:
        difference = painted(pipe, control).astype(int) - painted(other, control).astype(int)
        assert np.abs(difference).max() <= 1


def test_half_precision_stays_near(
    pipe: Img2Img, controlnet: Callable[..., Tiny], tiny_sd1: Path, exported: Callable[..., Path]
) -> None:
    half = controlnet("sd1", "canny", dtype="float16", seed=1).bundle
    bundle = exported("sd1.float16.bundle", tiny_sd1, dtype="float16")
    control = {"canny": Control(MAP, 0.7)}
    with Img2Img.open(bundle, control=[half], device="cpu") as other:
        difference = painted(pipe, control).astype(int) - painted(other, control).astype(int)
    assert np.abs(difference).mean() < 2


def test_weights_are_linked_and_the_extension_is_made_once(
    tiny_sd1_bundle: Path, networks: list[Path], pipe: Img2Img
) -> None:
    folder = pipe.bundle.folder
    base = tiny_sd1_bundle / "unet" / "diffusion_pytorch_model.safetensors"
    assert (folder / "unet" / base.name).samefile(base) or not base.stat().st_nlink > 1
    assert set(pipe.bundle.manifest.components) >= {"controlnet-canny", "hint-second"}
    with Img2Img.open(tiny_sd1_bundle, control=networks, device="cpu") as again:
        assert again.bundle.folder == folder


def test_a_picture_says_what_controlled_it(pipe: Img2Img, tmp_path: Path) -> None:
    control = Control(scale=0.5, start=0.25, preprocessor="canny")
    result = pipe(photograph((64, 64)), "a lynx", control={"canny": control}, **RUN)
    result.images[0].save(tmp_path / "a.png")
    [said] = read_parameters(tmp_path / "a.png")["control"]
    numbers = {"name": "canny", "scale": 0.5, "start": 0.25, "end": 1.0, "preprocessor": "canny"}
    assert said.items() >= numbers.items()
    assert said["picture_sha256"] == result.parameters.image_sha256
    text = Image.open(tmp_path / "a.png").info["parameters"]  # type: ignore[no-untyped-call]
    assert 'ControlNet 0: "Module: canny, Model: canny, Weight: 0.5' in text


@pytest.mark.parametrize(
    ("control", "options", "message"),
    [
        ({"depth": Control(MAP)}, {}, "depth: no such control network is open; there are canny"),
        ({"canny": Control()}, {}, "a map is given"),
        ({"canny": Control(MAP, kind=1)}, {}, "knows one kind of picture"),
        ({}, {"guess_mode": True}, "guess_mode: there is no control"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    pipe: Img2Img, control: dict[str, Control], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        painted(pipe, control, **options)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"scale": -1}, "scale: expected a number from 0 to 10"),
        ({"scale": float("nan")}, "scale: expected a number"),
        ({"start": 0.6, "end": 0.6}, "less than its end"),
        ({"preprocessor": "openpose_full"}, "openpose_full maps are not made here"),
        ({"preprocessor": "edges"}, "expected one of map, canny, tile"),
    ],
)
def test_numbers_and_names_are_checked(said: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Control(**said)


def test_networks_of_other_models_are_refused(
    controlnet: Callable[..., Tiny], tiny_sdxl_bundle: Path, networks: list[Path]
) -> None:
    with pytest.raises(UsageError, match=r"it is for sd1, and .* is sdxl"):
        Img2Img.open(tiny_sdxl_bundle, control=networks)
    with pytest.raises(UsageError, match="it is for another model"):
        Img2Img.open(control=networks)
    with pytest.raises(BundleError, match="is a control network"):
        Img2Img.open(networks[0])


def test_a_network_is_named_after_its_component() -> None:
    assert layout.controls("controlnet-canny") == layout.controls("hint-canny") == "canny"
    assert layout.controls("unet") is None
