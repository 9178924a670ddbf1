"""The same picture as diffusers makes, for the same seed, with no torch on our side.

Which pictures: the grids of tests/parity.py. The suite runs a pairwise cover, `make parity` all.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from tests.parity import (
    GRIDS,
    LIMIT,
    PROMPT,
    SEED,
    Cell,
    Reference,
    difference,
    grid,
    measured,
    ours,
    pairwise,
    photograph,
)

from overpaint.runtime import Img2Img

# diffusers on NumPy 2: nothing of ours.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

FIXTURES = {
    "sd1": "tiny_sd1",
    "sd2": "tiny_sd2",
    "sdxl": "tiny_sdxl",
    "sdxl-refiner": "tiny_refiner",
    "sd3": "tiny_sd3",
    "flux1": "tiny_flux1",
    "flux1-schnell": "tiny_schnell",
    "z-image": "tiny_z_image",
    "flux2-klein": "tiny_klein",
}
Pair = tuple[Reference, Img2Img]
_OPENED: dict[str, Pair] = {}


@pytest.fixture
def both(family: str, request: pytest.FixtureRequest) -> Pair:
    """diffusers and us on the tiny checkpoint of `family`; each is opened once."""
    name = FIXTURES[family.split(",")[0]]
    if name not in _OPENED:
        checkpoint: Path = request.getfixturevalue(name)
        bundle: Path = request.getfixturevalue(f"{name}_bundle")
        _OPENED[name] = Reference(checkpoint), Img2Img.open(bundle)
    return _OPENED[name]


def cells(cover: bool) -> list[object]:
    return [
        pytest.param(family, cell, id=f"{family}-{cell}")
        for family, axes in GRIDS.items()
        for cell in (pairwise(grid(axes)) if cover else grid(axes))
    ]


@pytest.mark.parametrize(("family", "cell"), cells(cover=True))
def test_a_picture_is_the_one_that_diffusers_makes(family: str, cell: Cell, both: Pair) -> None:
    reference, pipe = both
    pipeline = "text to image" if cell.strength is None else "image to image"
    found = measured(family.split(",")[0], pipeline, reference(cell), ours(pipe, cell))
    assert found <= LIMIT


@pytest.mark.parity
@pytest.mark.parametrize(("family", "cell"), cells(cover=False))
def test_every_picture_of_the_grid_is_the_one_that_diffusers_makes(
    family: str, cell: Cell, both: Pair
) -> None:
    reference, pipe = both
    pipeline = "text to image" if cell.strength is None else "image to image"
    found = measured(family.split(",")[0], pipeline, reference(cell), ours(pipe, cell))
    assert found <= LIMIT


@pytest.mark.parametrize("family", GRIDS)
def test_the_cover_of_a_grid_holds_every_pair_of_values(family: str) -> None:
    axes = GRIDS[family]
    cover = pairwise(grid(axes))
    for one, other in itertools.combinations(axes, 2):
        found = {(getattr(cell, one), getattr(cell, other)) for cell in cover}
        assert found == set(itertools.product(axes[one], axes[other]))
    assert len(cover) < len(grid(axes)) / 2


@pytest.mark.parametrize("family", ["sd1"])
def test_the_comparison_can_fail(family: str, both: Pair) -> None:
    """Neighbouring settings give visibly other pictures: agreement above is no accident."""
    reference, pipe = both
    cell = Cell("euler", 0.58, 20, 7.5, (64, 64))
    picture = ours(pipe, cell)
    assert difference(picture, np.asarray(photograph(cell.size))) > 20
    for other in (
        Cell("euler", 0.75, 20, 7.5, (64, 64)),
        Cell("euler", 0.58, 20, 1.0, (64, 64)),
        Cell("euler", 0.58, 20, 7.5, (64, 64), None),
        Cell("euler", 0.58, 4, 7.5, (64, 64)),
        Cell("euler-a", 0.58, 20, 7.5, (64, 64)),
    ):
        assert difference(reference(other), picture) > 5 * LIMIT, str(other)


@pytest.mark.parametrize("family", ["sd1"])
def test_a_batch_is_diffusers_batch_with_a_generator_for_each_image(
    family: str, both: Pair
) -> None:
    import torch

    reference, pipe = both
    reference.image.scheduler = reference.scheduler
    theirs = reference.image(
        [PROMPT] * 3,
        image=photograph((64, 64)),
        strength=0.58,
        num_inference_steps=20,
        generator=[torch.Generator().manual_seed(SEED + i) for i in range(3)],
    ).images
    result = pipe(photograph((64, 64)), PROMPT, strength=0.58, steps=20, seed=SEED, n=3)
    for one, other in zip(theirs, result.images, strict=True):
        assert difference(np.asarray(one), np.asarray(other)) <= LIMIT
