"""A warm-up is runs that nobody sees; they change nothing of those that are seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.doubles.engines import fake_pipeline
from tests.runtime.test_pipeline import BLUE

from overpaint.bundle.errors import UsageError
from overpaint.runtime import warm_up


def test_every_engine_runs_at_every_size_with_the_guidance_that_is_to_come(tmp_path: Path) -> None:
    pipe, engines = fake_pipeline(tmp_path)
    warm_up(pipe, (64, 40), (16, 16), guidance_scale=3.0)
    for name in ("vae_encoder", "vae_decoder"):
        sides = {next(iter(fed.values())).shape[2:] for fed in engines[name].fed}
        assert len(sides) == 2
    assert {fed["sample"].shape for fed in engines["unet"].fed} == {(2, 4, 5, 8), (2, 4, 2, 2)}
    assert engines.runs("text_encoder") > 2


def test_a_run_after_a_warm_up_gives_the_same_picture(tmp_path: Path) -> None:
    cold, warm = (fake_pipeline(tmp_path / name)[0] for name in ("cold", "warm"))
    warm_up(warm, (64, 40))
    pictures = [pipe(BLUE, "red", seed=7).images[0] for pipe in (cold, warm)]
    np.testing.assert_array_equal(*map(np.asarray, pictures))


def test_where_every_run_opens_its_engines_there_is_nothing_to_warm(tmp_path: Path) -> None:
    pipe, engines = fake_pipeline(tmp_path, low_memory=True)
    with pytest.raises(UsageError, match="low_memory"):
        warm_up(pipe, (64, 40))
    assert not engines.opened
