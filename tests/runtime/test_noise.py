"""The noise of a seed: torch's numbers without torch, and NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overpaint.bundle.errors import UsageError
from overpaint.runtime.choices import RNGS
from overpaint.runtime.noise import generator

CLOSE = {"atol": 4.8e-7, "rtol": 2.4e-7}
"""torch's own sine, cosine and logarithm are approximations in float32, good to about this: the
rtol is two units in the last place, for the few numbers beyond 4."""

sizes = st.lists(
    st.one_of(st.integers(1, 40), st.sampled_from([16, 32, 64, 4096, 16383, 16384, 16385])),
    min_size=1,
    max_size=12,
)
seeds = st.one_of(st.integers(0, 2**64 - 1), st.integers(-(2**63), -1), st.integers(0, 100))


@given(seeds, sizes)
@settings(max_examples=200, deadline=None)
def test_draws_of_any_sizes_in_any_order_are_torchs(seed: int, counts: list[int]) -> None:
    theirs, ours = torch.Generator().manual_seed(seed), generator("torch", seed)
    for count in counts:
        expected = torch.randn(count, generator=theirs).numpy()
        np.testing.assert_allclose(ours.normal((count,)), expected, **CLOSE)


@pytest.mark.parametrize("count", range(1, 130))
def test_every_small_size_is_torchs(count: int) -> None:
    theirs, ours = torch.Generator().manual_seed(count), generator("torch", count)
    for _ in range(3):
        expected = torch.randn(count, generator=theirs).numpy()
        np.testing.assert_allclose(ours.normal((count,)), expected, **CLOSE)


@pytest.mark.parametrize(
    "shape", [(), (1,), (3, 5), (1, 4, 64, 64), (2, 4, 8, 8), (1, 16, 128, 128), (1, 4, 1, 3)]
)
def test_shapes_are_filled_in_c_order_as_torch_fills_them(shape: tuple[int, ...]) -> None:
    expected = torch.randn(shape, generator=torch.Generator().manual_seed(9)).numpy()
    ours = generator("torch", 9).normal(shape)
    assert (ours.shape, ours.dtype) == (shape, np.float32)
    np.testing.assert_allclose(ours, expected, **CLOSE)


def test_the_second_half_of_a_pair_waits_for_the_next_small_draw() -> None:
    theirs, ours = torch.Generator().manual_seed(1), generator("torch", 1)
    for count in (1, 16, 1, 33, 3, 1000, 2):  # blocks neither take it nor clear it
        expected = torch.randn(count, generator=theirs).numpy()
        np.testing.assert_allclose(ours.normal((count,)), expected, **CLOSE)


def test_half_precision_draws_are_rounded_ones_for_the_sizes_of_latents() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        half = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3), dtype=dtype)
        whole = torch.from_numpy(generator("torch", 3).normal((1, 4, 8, 8)))
        assert (half.float() - whole.to(dtype).float()).abs().max() <= 2 ** (
            -9 if dtype == torch.float16 else -6
        )


PINNED = {
    ("torch", 0): [1.5409961, -0.2934289, -2.1787894, 0.56843126],
    ("torch", 7): [-0.14679509, 0.78614128, 0.94682163, -1.1143440],
    ("numpy", 0): [1.1176220, -1.3871249, -0.42657161, -0.80358726],
    ("numpy", 7): [1.5219693, -1.1441057, 1.1501616, -1.7846532],
}
PINNED_LATENTS = {
    ("torch", 0): [-1.1258398, -1.1523602, 0.32227492, -1.0782080],
    ("torch", 7): [-0.82013452, 0.39563116, 0.92654300, -0.25150964],
    ("numpy", 0): [1.1176220, -1.3871249, -0.18548468, -0.07419489],
    ("numpy", 7): [1.5219693, -1.1441057, -0.06291215, -0.20472889],
}


@pytest.mark.parametrize(("rng", "seed"), PINNED)
def test_the_first_numbers_of_a_seed_never_change(rng: str, seed: int) -> None:
    few, latents = (generator(rng, seed).normal(shape) for shape in ((4,), (1, 4, 64, 64)))
    np.testing.assert_allclose(few, PINNED[rng, seed], atol=1e-6)
    sample = latents.reshape(-1)[[0, 1, 8, -1]]
    np.testing.assert_allclose(sample, PINNED_LATENTS[rng, seed], atol=1e-6)


@pytest.mark.parametrize("rng", RNGS)
def test_filling_an_array_draws_the_same_numbers(rng: str) -> None:
    one, other = generator(rng, 5), generator(rng, 5)
    out = np.empty((2, 3, 4, 4), np.float32)
    one.fill(out)
    np.testing.assert_array_equal(out, other.normal(out.shape))
    one.fill(out[1:])
    np.testing.assert_array_equal(out[1:], other.normal((1, 3, 4, 4)))


@pytest.mark.parametrize("rng", RNGS)
def test_a_batch_is_its_images_one_by_one(rng: str) -> None:
    """Image i of a batch uses seed + i, so it does not depend on its neighbours."""
    alone = [generator(rng, 10 + i).normal((1, 4, 8, 8)) for i in range(3)]
    batch = np.empty((3, 4, 8, 8), np.float32)
    for i in range(3):
        generator(rng, 10 + i).fill(batch[i : i + 1])
    np.testing.assert_array_equal(batch, np.concatenate(alone))


@pytest.mark.parametrize("rng", RNGS)
def test_the_numbers_are_standard_normal(rng: str) -> None:
    numbers = generator(rng, 123).normal((200_000,)).astype(np.float64)
    assert abs(numbers.mean()) < 0.01
    assert abs(numbers.std() - 1) < 0.01
    assert abs((numbers**4).mean() - 3) < 0.1
    assert np.isfinite(numbers).all()


def test_torch_keeps_the_low_32_bits_of_a_seed_and_numpy_all() -> None:
    for rng, same in (("torch", True), ("numpy", False)):
        one, other = (generator(rng, seed).normal((8,)) for seed in (5, 5 + 2**32))
        assert np.array_equal(one, other) is same


@pytest.mark.parametrize("seed", [1.0, "7", None, True, 2**64, -(2**63) - 1])
def test_a_seed_that_is_no_seed_is_refused(seed: Any) -> None:
    with pytest.raises(UsageError, match="seed: expected a whole number"):
        generator("torch", seed)


def test_an_unknown_generator_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="rng: expected one of torch, numpy, got 'cuda'"):
        generator("cuda", 0)


def test_an_array_that_cannot_be_filled_in_place_is_refused() -> None:
    with pytest.raises(ValueError, match="C-contiguous"):
        generator("torch", 0).fill(np.empty((4, 8), np.float32).T)
