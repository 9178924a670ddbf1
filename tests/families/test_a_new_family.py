"""A family is three files: one that nobody trained is recognised, opened, and conditioned."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import msgspec
import numpy as np
import pytest
from tests.bundle.micro import write_files
from tests.bundle.micro_manifest import good

from overpaint.bundle import families
from overpaint.bundle.errors import BundleError, CheckpointError
from overpaint.bundle.facts import Configs, TextEncoder
from overpaint.bundle.families import FAMILIES, facts_of, family_of
from overpaint.bundle.format.manifest_file import parse
from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.format.write import finish_bundle, new_bundle
from overpaint.runtime import text
from overpaint.runtime.text import CONDITION, Prompts
from overpaint.runtime.text.conditioning import Embedding

TOY = Path(__file__).parent / "toy"
CONFIGS = Configs(
    index={},
    scheduler={},
    components={
        "text_encoder": {"max_position_embeddings": 5},
        "transformer": {"toys": 3, "patch_size": 2},
        "vae": {"latent_channels": 4, "block_out_channels": [8] * 4, "scaling_factor": 0.5},
    },
    pad_token_ids={"tokenizer": 7},
)


def lie_in(monkeypatch: pytest.MonkeyPatch, package: ModuleType, room: str) -> None:
    """Put the toy's file of `room` among a package's own."""
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(TOY / room)])
    monkeypatch.delitem(sys.modules, f"{package.__name__}.toy", raising=False)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Its three files lie in their folders, and were found there."""
    from overpaint.export import families as exports

    for package, room in ((families, "bundle"), (text, "runtime"), (exports, "export")):
        lie_in(monkeypatch, package, room)
    found = families.find()["toy"]
    monkeypatch.setitem(FAMILIES, "toy", found)
    monkeypatch.setitem(CONDITION, "toy", text.find(found))
    monkeypatch.setitem(exports.EXPORTS, "toy", exports.find(found))
    yield "toy"
    for package in (families, text, exports):
        del sys.modules[f"{package.__name__}.toy"]


def test_before_its_files_are_there_nothing_knows_it() -> None:
    with pytest.raises(CheckpointError, match=r"\(text_encoder, transformer, vae\) are not those"):
        family_of(CONFIGS.components)


def test_its_configs_tell_what_its_manifest_says(toy: str) -> None:
    facts = facts_of(CONFIGS, "checkpoints/toy")
    assert (facts.family, facts.denoiser, facts.prediction) == (toy, "transformer", "flow")
    assert (facts.latents.multiple, facts.latents.scaling) == (16, 0.5)
    assert (facts.defaults.steps, facts_of(CONFIGS, "toy-turbo").defaults.steps) == (3, 1)
    [encoder] = facts.text.encoders
    assert (encoder.length, encoder.pad_token_id) == (5, 7)
    assert FAMILIES[toy].denoiser.time(250) == 0.25


def bundle_of_toys(output: Path) -> Path:
    """The micro bundle, with its denoiser where a toy has it."""
    facts = facts_of(CONFIGS)
    manifest = good() | {"family": facts.family, "denoiser": facts.denoiser, "prediction": "flow"}
    component = manifest["components"].pop("unet")
    component["inputs"][0]["name"] = "toys"
    manifest["components"]["transformer"] = component | {"graph": "transformer/model.onnx"}
    with new_bundle(output) as folder:
        write_files(folder)
        (folder / "unet").rename(folder / "transformer")
        finish_bundle(folder, parse(json.dumps(manifest).encode()))
    return output


def test_its_bundle_opens_while_it_is_known_and_is_refused_by_name_without(
    toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bundle_of_toys(tmp_path / "toys")
    assert open_bundle(folder).manifest.family == toy
    monkeypatch.delitem(FAMILIES, toy)
    with pytest.raises(BundleError, match=r"family: expected 'flux1', .*, got 'toy'"):
        open_bundle(folder)


def test_its_prompts_condition_its_denoiser(toy: str, tmp_path: Path) -> None:
    manifest = open_bundle(bundle_of_toys(tmp_path / "toys")).manifest
    asked = []

    def encode(encoder: TextEncoder, prompt: str) -> Embedding:
        asked.append((encoder.component, prompt))
        return Embedding(np.ones((1, 5, 8), np.float32), None, "")

    prompts = Prompts(prompt="a toy", negative_prompt=None, guided=False, size=(96, 64))
    got = CONDITION[toy](manifest.text, prompts, encode)
    assert asked == [("text_encoder", "a toy")]
    assert got.positive["width"] == [[96]]


def test_its_graphs_are_what_its_third_file_says(toy: str, tmp_path: Path) -> None:
    from overpaint.bundle.checkpoint.folder import Checkpoint
    from overpaint.export.parts import parts_of

    unet = {"in_channels": 4, "out_channels": 4, "cross_attention_dim": 8, "toys": 3}
    vae = {**CONFIGS.components["vae"], "in_channels": 3, "out_channels": 3}
    for name, config in {"transformer": {"toys": 3}, "unet": unet, "vae": vae}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(msgspec.json.encode(config).decode())
    index = {name: ["a library", "A class"] for name in ("transformer", "unet")}
    index["vae"] = ["diffusers", "AutoencoderKL"]
    parts = parts_of(Checkpoint(tmp_path, "toys", index), "float32")
    assert [part.component for part in parts] == ["vae_encoder", "unet", "vae_decoder"]
