"""The same picture as diffusers makes, for the same seed, with no torch on our side."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from tests.parity import (
    EVERY_SAMPLER,
    GRID,
    LIMIT,
    Cell,
    Reference,
    difference,
    grid,
    ours,
    pairwise,
    photograph,
)

from overpaint.runtime import Img2Img

# diffusers on NumPy 2: nothing of ours.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SUITE = sorted({*pairwise(grid(GRID)), *pairwise(grid(EVERY_SAMPLER))}, key=str)


@pytest.fixture(scope="module")
def reference(tiny_sd1: Path) -> Reference:
    return Reference(tiny_sd1)


@pytest.fixture(scope="module")
def pipe(tiny_sd1_bundle: Path) -> Iterator[Img2Img]:
    with Img2Img.open(tiny_sd1_bundle) as pipe:
        yield pipe


@pytest.mark.parametrize("cell", SUITE, ids=str)
def test_sd1_gives_the_picture_that_diffusers_gives(
    cell: Cell, reference: Reference, pipe: Img2Img
) -> None:
    assert difference(reference(cell), ours(pipe, cell)) <= LIMIT


@pytest.mark.parity
@pytest.mark.parametrize("cell", grid(GRID), ids=str)
def test_sd1_gives_the_picture_that_diffusers_gives_over_the_whole_grid(
    cell: Cell, reference: Reference, pipe: Img2Img
) -> None:
    assert difference(reference(cell), ours(pipe, cell)) <= LIMIT


@pytest.mark.parametrize("axes", [GRID, EVERY_SAMPLER], ids=["grid", "every sampler"])
def test_the_suites_part_of_the_grid_holds_every_pair_of_values(axes: dict) -> None:  # type: ignore[type-arg]
    cells = pairwise(grid(axes))
    for one, other in itertools.combinations(axes, 2):
        found = {(getattr(cell, one), getattr(cell, other)) for cell in cells}
        assert found == set(itertools.product(axes[one], axes[other]))
    assert len(cells) < len(grid(axes)) / 3
    assert {field.name for field in fields(Cell)} == set(axes)


def test_the_comparison_can_fail(reference: Reference, pipe: Img2Img) -> None:
    """Neighbouring settings give visibly other pictures: agreement above is no accident."""
    cell = Cell("euler", 0.58, 20, 7.5, (64, 64))
    picture = ours(pipe, cell)
    assert difference(picture, np.asarray(photograph(cell.size))) > 20
    for other in (
        Cell("euler", 0.75, 20, 7.5, (64, 64)),
        Cell("euler", 0.58, 20, 1.0, (64, 64)),
        Cell("euler", 0.58, 4, 7.5, (64, 64)),
        Cell("euler-a", 0.58, 20, 7.5, (64, 64)),
    ):
        assert difference(reference(other), picture) > 5 * LIMIT, str(other)


def test_a_batch_is_diffusers_batch_with_a_generator_for_each_image(
    reference: Reference, pipe: Img2Img
) -> None:
    import torch
    from tests.parity import PROMPT, SEED

    generators = [torch.Generator().manual_seed(SEED + i) for i in range(3)]
    reference.image.scheduler = reference.own
    theirs = reference.image(
        [PROMPT] * 3,
        image=photograph((64, 64)),
        strength=0.58,
        num_inference_steps=20,
        generator=generators,
    ).images
    result = pipe(photograph((64, 64)), PROMPT, strength=0.58, steps=20, seed=SEED, n=3)
    for one, other in zip(theirs, result.images, strict=True):
        assert difference(np.asarray(one), np.asarray(other)) <= LIMIT
