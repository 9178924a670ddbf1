"""Reference pictures in a run: what is told, what is refused, and what stays as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.conftest import Adapters, Export
from tests.parity import PROMPT, difference, photograph
from tests.random_lora import random_lora

from overpaint.bundle.errors import UsageError
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.ip_adapter.make import import_adapter
from overpaint.engines.choose import open_session
from overpaint.engines.session.session import Session
from overpaint.runtime import Img2Img
from overpaint.runtime.metadata import read_parameters
from overpaint.runtime.result import Result

PICTURE = photograph((64, 64))
ONE, OTHER = photograph((90, 64)), photograph((64, 72))


def painted(pipe: Img2Img, **options: Any) -> Result:
    return pipe(PICTURE, PROMPT, strength=0.6, steps=5, guidance_scale=5.0, seed=3, **options)


def pixels(result: Result) -> np.ndarray[Any, Any]:
    return np.asarray(result.images[0])


def test_a_run_without_reference_pictures_is_the_bundles_own(
    seeing: Img2Img, adapters: Adapters
) -> None:
    with Img2Img.open(adapters("sd1", "base").bundle, device="cpu") as own:
        assert np.array_equal(pixels(painted(seeing)), pixels(painted(own)))


def test_a_reference_at_scale_0_changes_nothing_that_shows(seeing: Img2Img) -> None:
    plain = pixels(painted(seeing))
    none = pixels(painted(seeing, ip_adapter_image=ONE, ip_adapter_scale=0))
    all_ = pixels(painted(seeing, ip_adapter_image=ONE, ip_adapter_scale=1.0))
    assert difference(plain, none) <= 1
    assert difference(plain, all_) > 20


def test_several_scales_are_of_one_picture_each(seeing: Img2Img) -> None:
    alone = pixels(painted(seeing, ip_adapter_image=ONE, ip_adapter_scale=0.7))
    both = pixels(painted(seeing, ip_adapter_image=[ONE, OTHER], ip_adapter_scale=(0.7, 0.0)))
    assert difference(alone, both) <= 1


def test_a_mask_says_where_a_picture_counts(seeing: Img2Img) -> None:
    none, whole = Image.new("L", (64, 64), 0), Image.new("L", (64, 64), 255)
    nowhere = painted(seeing, ip_adapter_image=ONE, ip_adapter_mask=none)
    everywhere = painted(seeing, ip_adapter_image=ONE, ip_adapter_mask=whole)
    assert difference(pixels(nowhere), pixels(painted(seeing))) <= 1
    assert difference(pixels(everywhere), pixels(painted(seeing, ip_adapter_image=ONE))) <= 1


def test_each_of_several_images_is_what_it_is_alone(seeing: Img2Img) -> None:
    several = painted(seeing, ip_adapter_image=ONE, n=2)
    alone = seeing(
        PICTURE, PROMPT, strength=0.6, steps=5, guidance_scale=5.0, seed=4, ip_adapter_image=ONE
    )
    assert difference(np.asarray(several.images[1]), pixels(alone)) <= 1


def test_the_bundles_own_denoiser_is_opened_when_a_run_asks_for_it(
    adapters: Adapters, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[bool, str]] = []

    def noting(bundle: Bundle, name: str, device: Any) -> Session:
        opened.append((bundle.manifest.ip_adapter is not None, name))
        return open_session(bundle, name, device)

    monkeypatch.setattr("overpaint.runtime.ip_adapter.open.open_session", noting)
    tiny = adapters("sd1", "base")
    with Img2Img.open(tiny.bundle, ip_adapter=tiny.adapter, device="cpu") as pipe:
        painted(pipe, ip_adapter_image=ONE)
        assert [one for one in opened if one[1] == "unet"] == [(True, "unet")]
        painted(pipe)
        painted(pipe)
        assert [one for one in opened if one[1] == "unet"] == [(True, "unet"), (False, "unet")]


def test_low_memory_makes_the_same_picture(seeing: Img2Img, adapters: Adapters) -> None:
    tiny = adapters("sd1", "base")
    usual = pixels(painted(seeing, ip_adapter_image=ONE))
    with Img2Img.open(tiny.bundle, ip_adapter=tiny.adapter, device="cpu", low_memory=True) as pipe:
        assert np.array_equal(pixels(painted(pipe, ip_adapter_image=ONE)), usual)


def test_the_picture_says_what_it_saw(seeing: Img2Img, adapters: Adapters, tmp_path: Any) -> None:
    result = painted(seeing, ip_adapter_image=[ONE, OTHER], ip_adapter_scale=(0.6, 0.2))
    result.images[0].save(tmp_path / "out.png")
    said = read_parameters(tmp_path / "out.png")
    assert said["ip_adapter"] == "ip-adapter_tiny"
    assert said["ip_adapter_scale"] == [0.6, 0.2]
    assert len(set(said["ip_adapter_image_sha256"])) == 2
    assert said["ip_adapter_mask_sha256"] == []
    seen = open_bundle(adapters("sd1", "base").bundle)
    assert said["model"] == seen.manifest.name
    assert painted(seeing).parameters.ip_adapter is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ip_adapter_image": ONE, "reference_strength": 0.4}, "ip_adapter_scale"),
        ({"ip_adapter_scale": 0.6}, "no reference picture"),
        ({"ip_adapter_mask": ONE}, "no reference picture"),
        ({"ip_adapter_image": [ONE, OTHER], "ip_adapter_mask": ONE}, "one for each of 2"),
        ({"ip_adapter_image": ONE, "ip_adapter_scale": (0.6, 0.2)}, "one for each of 1"),
        ({"ip_adapter_image": ONE, "ip_adapter_scale": "much"}, "expected a number, or several"),
        ({"ip_adapter_image": ONE, "ip_adapter_scale": -1}, "from 0 to 5"),
    ],
)
def test_words_that_contradict_each_other_are_refused(
    options: dict[str, Any], message: str, seeing: Img2Img
) -> None:
    with pytest.raises(UsageError, match=message):
        seeing(PICTURE, PROMPT, steps=2, **options)


def test_a_pipeline_without_an_adapter_says_how_to_open_one(adapters: Adapters) -> None:
    with (
        Img2Img.open(adapters("sd1", "base").bundle, device="cpu") as pipe,
        pytest.raises(UsageError, match="ip_adapter=FOLDER"),
    ):
        painted(pipe, ip_adapter_image=ONE)


def test_an_adapter_of_another_family_is_refused_in_one_line(adapters: Adapters) -> None:
    with pytest.raises(UsageError, match="take the adapter of its family"):
        Img2Img.open(adapters("sd1", "base").bundle, ip_adapter=adapters("sdxl", "base").adapter)


def test_a_denoiser_without_cross_attention_is_refused(
    tiny_sd3_bundle: Any, adapters: Adapters
) -> None:
    with pytest.raises(UsageError, match="no cross-attention"):
        Img2Img.open(tiny_sd3_bundle, ip_adapter=adapters("sd1", "base").adapter)


@pytest.mark.parametrize("kind", ["base", "plus"])
def test_openvino_paints_the_same(kind: str, adapters: Adapters) -> None:
    tiny = adapters("sdxl", kind)
    found = {}
    for device in ("cpu", "openvino"):
        with Img2Img.open(tiny.bundle, ip_adapter=tiny.adapter, device=device) as pipe:
            found[device] = pixels(
                painted(pipe, ip_adapter_image=[ONE, OTHER], ip_adapter_scale=(0.6, 0.4))
            )
    assert difference(found["cpu"], found["openvino"]) <= 1


@pytest.mark.parametrize("kind", ["base", "plus"])
def test_half_precision_paints_nearly_the_same(
    kind: str, adapters: Adapters, exported: Export, tmp_path: Path
) -> None:
    tiny = adapters("sd1", kind)
    half = exported("sd1.half", tiny.checkpoint, dtype="float16", store="float16")
    import_adapter(tiny.file, tmp_path / "half", dtype="float16")
    with (
        Img2Img.open(tiny.bundle, ip_adapter=tiny.adapter, device="cpu") as full,
        Img2Img.open(half, ip_adapter=tmp_path / "half", device="cpu") as less,
    ):
        wanted, got, plain = (
            pixels(painted(pipe, **seen)).astype(float)
            for pipe, seen in (
                (full, {"ip_adapter_image": ONE}),
                (less, {"ip_adapter_image": ONE}),
                (full, {}),
            )
        )
    assert np.abs(wanted - got).mean() < 2
    assert np.abs(wanted - plain).mean() > 5


def test_loras_that_turn_are_refused_beside_references_and_fused_ones_are_not(
    adapters: Adapters, tmp_path: Path
) -> None:
    tiny = adapters("sd1", "base")
    ink = random_lora(tmp_path / "ink.safetensors", tiny.bundle)
    with (
        Img2Img.open(
            tiny.bundle,
            lora={"ink": ink},
            lora_mode="live",
            ip_adapter=tiny.adapter,
            device="cpu",
        ) as pipe,
        pytest.raises(UsageError, match="do not go together"),
    ):
        painted(pipe, ip_adapter_image=ONE, lora={"ink": 1.0})
    seen = {"ip_adapter_image": ONE}
    with (
        Img2Img.open(tiny.bundle, lora=[str(ink)], ip_adapter=tiny.adapter, device="cpu") as fused,
        Img2Img.open(tiny.bundle, ip_adapter=tiny.adapter, device="cpu") as plain,
    ):
        assert difference(pixels(painted(fused, **seen)), pixels(painted(plain, **seen))) > 20
