"""FLUX.2 klein's facts, as diffusers' pipelines have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu

from overpaint.bundle.checkpoint.folder import configs_of, open_checkpoint
from overpaint.bundle.errors import CheckpointError
from overpaint.bundle.facts import Configs, Defaults
from overpaint.bundle.families import FAMILIES, facts_of


@pytest.fixture
def configs(tiny_klein: Path) -> Configs:
    return configs_of(open_checkpoint(tiny_klein))


def changed(configs: Configs, component: str, **fields: Any) -> Configs:
    components = {**configs.components, component: {**configs.components[component], **fields}}
    return Configs(
        index=configs.index,
        scheduler=configs.scheduler,
        components=components,
        pad_token_ids=configs.pad_token_ids,
    )


def test_the_index_tells_the_distilled_checkpoint_from_its_base(configs: Configs) -> None:
    assert configs.index["is_distilled"]
    few = Defaults(steps=4, guidance_scale=1.0, strength=0.8, distilled=True)
    assert facts_of(configs, "klein").defaults == few
    base = json.loads(json.dumps(configs.index)) | {"is_distilled": False}
    told = Configs(
        index=base,
        scheduler=configs.scheduler,
        components=configs.components,
        pad_token_ids=configs.pad_token_ids,
    )
    many = Defaults(steps=50, guidance_scale=4.0, strength=0.8)
    assert facts_of(told, "klein").defaults == many
    assert msgspec.structs.asdict(facts_of(told, "klein").latents)["channels"] == 128


def test_flux2_dev_and_other_widths_are_refused(configs: Configs) -> None:
    with pytest.raises(CheckpointError, match=r"as FLUX\.2 dev, whose text encoder is Mistral"):
        facts_of(changed(configs, "transformer", guidance_embeds=True), "dev")
    with pytest.raises(
        CheckpointError, match=r"in_channels: expected 128, 4 cells of the VAE's 32"
    ):
        facts_of(changed(configs, "transformer", in_channels=64), "other")


@pytest.mark.parametrize("tokens", [16, 1024, 4096, 4300, 4301, 16384])
@pytest.mark.parametrize("steps", [1, 4, 28, 50, 200])
def test_levels_are_shifted_by_tokens_and_steps_as_diffusers_does(tokens: int, steps: int) -> None:
    shift = FAMILIES["flux2-klein"].shift
    assert shift is not None
    assert shift(tokens, steps) == pytest.approx(compute_empirical_mu(tokens, steps), rel=1e-12)
