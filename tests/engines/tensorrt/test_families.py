"""Plans of every family, at their exact sizes. That NVIDIA takes their graphs: test_rtx_builder."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import FAMILIES
from tests.doubles.tensorrt_here import Here, built
from tests.doubles.tensorrt_here import here as here

from overpaint.bundle.arrays import NUMPY_DTYPES
from overpaint.bundle.format.open import open_bundle
from overpaint.engines.choose import open_session


@pytest.mark.parametrize("family", FAMILIES)
def test_plans_of_every_family_are_built_and_agree_with_the_processor(
    family: str, bundles: dict[str, Path], here: Here, tmp_path: Path
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(bundles[family], folder)
    bundle = open_bundle(folder)
    side = 4 * bundle.manifest.latents.multiple
    record = built(bundle, [f"1x{side}x{2 * side}"])
    assert record.plans.keys() == bundle.manifest.components.keys()
    denoiser = record.plans[bundle.manifest.denoiser].profiles
    assert len(denoiser) == 2
    rng = np.random.default_rng(0)
    bundle = open_bundle(folder)
    for name, plan in record.plans.items():
        with (
            open_session(bundle, name, "tensorrt") as ours,
            open_session(bundle, name, "cpu") as theirs,
        ):
            for profile in plan.profiles:
                # A mask is all ones: of a token that sees none there is no attention.
                low = {"attention_mask": 1}
                feed = {
                    tensor: rng.uniform(low.get(tensor, 0), 2, shape).astype(
                        NUMPY_DTYPES[ours.inputs[tensor].dtype]
                    )
                    for tensor, (_, shape, _) in profile.items()
                }
                outputs = ours.run(feed)
                for output, expected in theirs.run(feed).items():
                    scale = np.abs(expected).max()
                    difference = np.abs(outputs[output].astype(float) - expected).max()
                    assert difference <= 1e-4 * scale, f"{name} {output}"
