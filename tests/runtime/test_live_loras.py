"""LoRAs that turn while a pipeline runs: the base's picture at 0, diffusers' and the fused one's at
any other weight, on engines that stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.loras import TARGETS, Tensors, components, kohya, pipeline, save, train
from tests.parity import LIMIT, PROMPT, SEED, Cell, Pixels, Reference, difference, ours, photograph
from tests.random_lora import random_lora

from overpaint.bundle.errors import CheckpointError, UsageError
from overpaint.bundle.files.hashing import sha256_file
from overpaint.runtime import Img2Img
from overpaint.runtime.lora import find
from overpaint.runtime.metadata import read_parameters

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

CELL = Cell("default", 0.58, 4, 5.0, (64, 96))
WEIGHTS = [
    {"ink": 1.0},
    {"ink": -0.8},
    {"ink": 0.7, "wash": -0.4},
    {"wash": 2.0},
]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def loras(
    checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Path]]:
    """Two for each family: of all kinds of layers, text encoders included, and of one kind."""

    def make(family: str, seed: int, targets: dict[str, list[str]]) -> Path:
        teacher = pipeline(checkpoints[family])
        train(teacher, targets, seed=seed)
        for module in components(teacher).values():
            for name, tensor in module.named_parameters():
                if "lora_B" in name:
                    tensor.data.mul_(0.5)
        return save(teacher, tmp_path_factory.mktemp(f"{family}-{seed}"))

    return {
        family: {
            "ink": make(family, 1, TARGETS[family]),
            "wash": make(family, 2, {next(iter(TARGETS[family])): ["to_q", "to_v"]}),
        }
        for family in ("sd1", "sdxl", "sd3", "flux1", "z-image", "flux2-klein")
    }


def painted(pipe: Img2Img, lora: dict[str, float] | None = None, **options: Any) -> Pixels:
    asked: dict[str, Any] = {
        "negative_prompt": CELL.negative_prompt,
        "steps": CELL.steps,
        "guidance_scale": CELL.guidance_scale,
        "strength": CELL.strength,
        "seed": SEED,
    }
    result = pipe(photograph(CELL.size), PROMPT, lora=lora, **asked | options)
    return np.asarray(result.images[0])


@pytest.mark.parametrize(
    "family",
    [
        *("sd1", "sdxl", "sd3"),
        *(
            pytest.param(one, marks=pytest.mark.parity)
            for one in ("flux1", "z-image", "flux2-klein")
        ),
    ],
)
def test_every_weight_paints_what_diffusers_paints_with_these_adapters(
    family: str,
    checkpoints: dict[str, Path],
    bundles: dict[str, Path],
    loras: dict[str, dict[str, Path]],
) -> None:
    reference = Reference(checkpoints[family])
    base = reference(CELL)
    for name, file in loras[family].items():
        reference.image.load_lora_weights(file.parent, weight_name=file.name, adapter_name=name)
    with Img2Img.open(bundles[family], lora=loras[family], lora_mode="live") as pipe:
        assert np.array_equal(painted(pipe), ours(pipe, CELL))
        for weights in WEIGHTS:
            reference.image.set_adapters(list(weights), list(weights.values()))
            theirs = reference(CELL)
            assert difference(theirs, base) > 5 * LIMIT
            assert difference(theirs, painted(pipe, weights)) <= LIMIT, weights


@pytest.mark.parametrize("family", ["sd1", "sdxl", "sd3", "flux1", "z-image", "flux2-klein"])
def test_a_weight_of_1_paints_as_the_fused_one_and_0_as_the_base_to_the_bit(
    family: str, bundles: dict[str, Path], loras: dict[str, dict[str, Path]]
) -> None:
    files = loras[family]
    with Img2Img.open(bundles[family]) as pipe:
        base = painted(pipe)
    with Img2Img.open(bundles[family], lora=[f"{files['ink']}:1"]) as pipe:
        fused = painted(pipe)
    assert difference(base, fused) > 5 * LIMIT
    with Img2Img.open(bundles[family], lora=files, lora_mode="live") as pipe:
        assert difference(fused, painted(pipe, {"ink": 1.0})) <= LIMIT
        assert np.array_equal(base, painted(pipe, {"ink": 0.0, "wash": 0}))
        assert np.array_equal(base, painted(pipe))


@pytest.mark.parametrize("device", ["cpu", "openvino"])
@pytest.mark.parametrize("low_memory", [False, True])
def test_every_engine_turns_them(
    device: str, low_memory: bool, tiny_sd1_bundle: Path, loras: dict[str, dict[str, Path]]
) -> None:
    file = loras["sd1"]["ink"]
    options: dict[str, Any] = {"device": device, "low_memory": low_memory}
    with Img2Img.open(tiny_sd1_bundle, lora=[f"{file}:-0.5"], **options) as pipe:
        fused = painted(pipe)
    with Img2Img.open(tiny_sd1_bundle, lora={"i": file}, lora_mode="live", **options) as pipe:
        assert difference(fused, painted(pipe, {"i": -0.5})) <= LIMIT
        assert difference(fused, painted(pipe)) > 5 * LIMIT


def test_one_is_added_and_removed_while_the_bases_engines_stay_open(
    tiny_sd1_bundle: Path, loras: dict[str, dict[str, Path]]
) -> None:
    files = loras["sd1"]
    with Img2Img.open(tiny_sd1_bundle) as pipe:
        base, unet = painted(pipe), pipe.engines.components._opening["unet"]
        pipe.add_lora("ink", files["ink"])
        inked = painted(pipe, {"ink": 0.6})
        pipe.add_lora("wash", files["wash"])
        assert difference(inked, painted(pipe, {"ink": 0.6})) <= LIMIT
        both = painted(pipe, {"ink": 0.6, "wash": 0.6})
        assert difference(inked, both) > LIMIT
        pipe.remove_lora("wash")
        assert difference(inked, painted(pipe, {"ink": 0.6})) <= LIMIT
        with pytest.raises(UsageError, match="'wash' is no LoRA that is known here; there are ink"):
            painted(pipe, {"wash": 1.0})
        pipe.remove_lora("ink")
        assert np.array_equal(base, painted(pipe))
        assert pipe.engines.components._opening["unet"] is unet


def test_a_file_that_does_not_fit_changes_nothing(
    tiny_sd1_bundle: Path, loras: dict[str, dict[str, Path]]
) -> None:
    with Img2Img.open(tiny_sd1_bundle, lora=loras["sd1"], lora_mode="live") as pipe:
        before = painted(pipe, {"ink": 0.6})
        with pytest.raises(CheckpointError, match="match nothing in this model"):
            pipe.add_lora("other", loras["sdxl"]["ink"])
        assert np.array_equal(before, painted(pipe, {"ink": 0.6}))


def test_a_prompt_names_them_where_weights_are_read(
    tiny_sd1_bundle: Path, loras: dict[str, dict[str, Path]], tmp_path: Path
) -> None:
    (tmp_path / "ink.safetensors").write_bytes(loras["sd1"]["ink"].read_bytes())
    (tmp_path / "wash.safetensors").write_bytes(loras["sd1"]["wash"].read_bytes())
    with Img2Img.open(tiny_sd1_bundle, lora_folder=tmp_path) as pipe:
        told = painted(pipe, {"ink": 0.5, "wash": -1.0})
        options: dict[str, Any] = {"steps": 4, "guidance_scale": 5.0, "strength": 0.58}
        options["seed"] = SEED
        result = pipe(
            photograph(CELL.size),
            f"{PROMPT} <lora:ink:0.25> <lora:wash:-1>",
            lora={"ink": 0.25},
            negative_prompt=CELL.negative_prompt,
            prompt_weights=True,
            **options,
        )
        assert np.array_equal(told, np.asarray(result.images[0]))
        used = [(one.name, one.weight) for one in result.parameters.loras]
        assert used == [("ink", 0.5), ("wash", -1.0)]
        with pytest.raises(UsageError, match="expected <lora:NAME> or <lora:NAME:WEIGHT>"):
            pipe(photograph(CELL.size), "<lora:ink:much>", prompt_weights=True, **options)
        unread = pipe(photograph(CELL.size), "a <lora:ink:1> lake", **options)
        assert any("<lora:ink:1>" in warning for warning in unread.warnings)
        assert not unread.parameters.loras


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ({"ink": 2.1}, "weights from -2 to 2, got 2.1 for ink"),
        ({"ink": float("nan")}, "got nan for ink"),
        ({"ink": True}, "got True for ink"),
        ({"oil": 1.0}, "'oil' is no LoRA that is known here; there are ink, wash"),
    ],
)
def test_what_cannot_be_turned_is_refused(
    weights: dict[str, float],
    says: str,
    tiny_sd1_bundle: Path,
    loras: dict[str, dict[str, Path]],
) -> None:
    with (
        Img2Img.open(tiny_sd1_bundle, lora=loras["sd1"], lora_mode="live") as pipe,
        pytest.raises(UsageError, match=says),
    ):
        painted(pipe, weights)


@pytest.mark.parametrize(
    ("lora", "mode", "says"),
    [
        (["ink.safetensors"], "live", "with lora_mode live, expected names of files"),
        ({"ink": "ink.safetensors"}, "fused", "names are for lora_mode live"),
        ((), "quick", "expected fused or live, got 'quick'"),
    ],
)
def test_a_mode_takes_them_in_its_own_form(
    lora: Any, mode: Any, says: str, tiny_sd1_bundle: Path
) -> None:
    with pytest.raises(UsageError, match=says):
        Img2Img.open(tiny_sd1_bundle, lora=lora, lora_mode=mode)


def test_the_embedded_models_own_are_known_by_name_to_it_alone(
    tmp_path: Path, tiny_sd1_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find, "EMBEDDED_LORAS", tmp_path)
    random_lora(tmp_path / "ink.safetensors")
    with Img2Img.open(lora=["ink:0.8"]) as pipe:
        fused = painted(pipe)
        [told] = pipe.bundle.manifest.loras
        assert (told.name, told.weight) == ("ink.safetensors", 0.8)
    with Img2Img.open() as pipe:
        assert difference(fused, painted(pipe)) > 5 * LIMIT
        assert difference(fused, painted(pipe, {"ink": 0.8})) <= LIMIT
    with (
        Img2Img.open(tiny_sd1_bundle) as other,
        pytest.raises(UsageError, match="'ink' is no LoRA that is known here; there is none"),
    ):
        painted(other, {"ink": 0.8})


def test_what_was_turned_stands_in_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find, "EMBEDDED_LORAS", tmp_path)
    file = random_lora(tmp_path / "ink.safetensors")
    with Img2Img.open() as pipe:
        result = pipe(photograph((64, 64)), "a lake", lora={"ink": 0.8}, steps=2, seed=1)
    result.images[0].save(tmp_path / "out.png")
    hashed = sha256_file(file)
    said = read_parameters(tmp_path / "out.png")["loras"]
    assert said == [{"name": "ink", "sha256": hashed, "weight": 0.8}]
    assert result.parameters.as_dict()["loras"] == said
    assert result.parameters.infotext().startswith("a lake <lora:ink:0.8>\n")


def test_kohyas_names_of_single_files_are_known_as_well(
    checkpoints: dict[str, Path], tiny_sdxl_bundle: Path, tmp_path: Path
) -> None:
    import safetensors.torch

    teacher = pipeline(checkpoints["sdxl"])
    train(teacher, TARGETS["sdxl"])
    saved: Tensors = kohya(teacher, "sdxl")
    path = tmp_path / "kohya.safetensors"
    safetensors.torch.save_file({name: tensor.half() for name, tensor in saved.items()}, path)
    with Img2Img.open(tiny_sdxl_bundle, lora=[f"{path}:0.5"]) as pipe:
        fused = painted(pipe)
    with Img2Img.open(tiny_sdxl_bundle, lora={"k": path}, lora_mode="live") as pipe:
        assert difference(fused, painted(pipe, {"k": 0.5})) <= LIMIT
        assert difference(fused, painted(pipe)) > 5 * LIMIT


def test_a_live_run_turns_them_from_frame_to_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From 0 to 1: the first and the last frame are those of two bundles made the old way."""
    file, frame = random_lora(tmp_path / "ink.safetensors"), photograph((64, 64))
    options: dict[str, Any] = {"strength": 0.6, "steps": 2, "seed": 4}

    def shown(pipe: Img2Img, *weights: float) -> list[Pixels]:
        frames = []
        with pipe.live("a lake", **options) as live:
            for weight in weights:
                live.lora = {"ink": weight} if weight else {}
                frames.append(np.asarray(live(frame)))
        return frames

    with Img2Img.open() as pipe:
        [base] = shown(pipe, 0.0)
    with Img2Img.open(lora=[f"{file}:1"]) as pipe:
        [fused] = shown(pipe, 0.0)
    with Img2Img.open(lora={"ink": file}, lora_mode="live") as pipe:
        first, between, last = shown(pipe, 0.0, 0.5, 1.0)
    assert np.array_equal(base, first)
    assert difference(fused, last) <= LIMIT
    assert difference(base, between) > LIMIT
    assert difference(between, last) > LIMIT
