"""Variation seeds: AUTOMATIC1111's numbers, and pictures between two seeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from overpaint.bundle.errors import UsageError
from overpaint.cli.app import app
from overpaint.runtime import Img2Img
from overpaint.runtime.metadata import read_parameters
from overpaint.runtime.settings import Settings
from overpaint.runtime.variation import slerp
from overpaint.serve.api.native.schema import JobRequest

SUMMER = Path(__file__).parents[2] / "examples/summer.png"


@pytest.mark.parametrize("strength", [0.05, 0.4, 1.0])
def test_noise_is_turned_as_the_web_ui_turns_it(strength: float) -> None:
    """Written in torch as the web UI's rng.slerp is, over dimension 1 of (C,h,w)."""
    low, high = (
        torch.randn(4, 16, 24, generator=torch.Generator().manual_seed(seed)) for seed in (7, 1234)
    )
    unit, other = (one / torch.norm(one, dim=1, keepdim=True) for one in (low, high))
    angle = torch.acos((unit * other).sum(1)).unsqueeze(1)
    wanted = torch.sin((1.0 - strength) * angle) / torch.sin(angle) * low
    wanted = wanted + torch.sin(strength * angle) / torch.sin(angle) * high
    np.testing.assert_allclose(slerp(strength, low.numpy(), high.numpy()), wanted, atol=3e-6)


def test_variations_go_from_one_seeds_picture_to_the_others(tmp_path: Path) -> None:
    picture = Image.open(SUMMER).resize((64, 64))
    with Img2Img.open() as pipe:

        def painted(seed: int, strength: float, other: int | None) -> Image.Image:
            result = pipe.text_to_image(
                "mountains",
                size=(64, 64),
                steps=6,
                seed=seed,
                variation_strength=strength,
                variation_seed=other,
            )
            return result.images[0]

        assert away(painted(3, 1.0, 9), painted(9, 0.0, None)) < 0.01
        assert away(painted(3, 0.2, 9), painted(3, 0.0, None)) > 1
        several = pipe(picture, "mountains", seed=3, variation_strength=0.2, n=2, strength=0.6)
        again = pipe(
            picture, "mountains", seed=3, variation_strength=0.2, variation_seed=5, strength=0.6
        )
    assert several.seeds == (3, 3)
    assert several.images[1].tobytes() == again.images[0].tobytes()  # 4 is the first one's
    several.images[1].save(tmp_path / "b.png")
    assert read_parameters(tmp_path / "b.png")["variation_seed"] == 5
    told = several.images[1].parameters.infotext()
    assert "Variation seed: 5, Variation seed strength: 0.2" in told


def away(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one).astype(int) - np.asarray(other)).mean())


def test_a_variation_seed_alone_is_told() -> None:
    with pytest.raises(UsageError, match="variation_seed: say how much of it"):
        Settings(variation_seed=3)


def test_seeds_are_a_picture_each(tmp_path: Path) -> None:
    with Img2Img.open() as pipe:
        several = pipe(SUMMER, "winter", seeds=(9, 4), strength=0.4)
        alone = pipe(SUMMER, "winter", seed=4, strength=0.4)
    assert several.seeds == (9, 4)
    assert several.images[1].tobytes() == alone.images[0].tobytes()
    several.images[1].save(tmp_path / "out.png")
    assert read_parameters(tmp_path / "out.png")["seed"] == 4
    asked = ["run", str(SUMMER), "winter", "--seeds", "9,4", "--steps", "3"]
    done = CliRunner().invoke(app, [*asked, "-o", str(tmp_path / "o")])
    assert done.exit_code == 0, done.output
    assert {one.name for one in (tmp_path / "o").iterdir()} == {"summer-4.png", "summer-9.png"}
    body = JobRequest(prompt="a lake", seeds=[9, 4])
    assert body.settings().seeds == (9, 4)


def test_seeds_and_a_seed_contradict_each_other() -> None:
    for more in ({"seed": 1}, {"n": 3}, {"variation_strength": 0.2}):
        with pytest.raises(UsageError, match="seeds: they say which and how many"):
            Settings(seeds=(1, 2), **more)  # type: ignore[arg-type]
