"""Guidance is diffusers' arithmetic, in buffers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

from overpaint.runtime.denoiser.guidance import guide, rescale

SHAPE = (2, 4, 8, 8)


@pytest.fixture
def predictions() -> tuple[np.ndarray, np.ndarray]:
    u, c = np.random.default_rng(0).standard_normal((2, *SHAPE), np.float32)
    return u, c


@pytest.mark.parametrize("scale", [1.5, 7.5, 15.0])
def test_guidance_goes_past_the_condition(
    predictions: tuple[np.ndarray, np.ndarray], scale: float
) -> None:
    u, c = predictions
    out = np.empty(SHAPE, np.float32)
    guide(u, c, scale, out)
    theirs = torch.from_numpy(u) + scale * (torch.from_numpy(c) - torch.from_numpy(u))
    np.testing.assert_array_equal(out, theirs.numpy())


@pytest.mark.parametrize("amount", [0.0, 0.3, 0.7, 1.0])
def test_rescaling_is_diffusers(predictions: tuple[np.ndarray, np.ndarray], amount: float) -> None:
    guided, c = predictions
    theirs = rescale_noise_cfg(torch.from_numpy(guided * 3), torch.from_numpy(c), amount)
    ours = guided * 3
    rescale(ours, c, amount)
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=2e-6, atol=1e-6)
    deviation = c.std(axis=(1, 2, 3), ddof=1)
    if amount == 1.0:
        np.testing.assert_allclose(ours.std(axis=(1, 2, 3), ddof=1), deviation, rtol=1e-5)


def test_half_precision_predictions_are_guided_in_single_precision(
    predictions: tuple[np.ndarray, np.ndarray],
) -> None:
    u, c = (one.astype(np.float16) for one in predictions)
    out, exact = np.empty(SHAPE, np.float32), np.empty(SHAPE, np.float64)
    guide(u, c, 7.5, out)
    guide(u.astype(np.float64), c.astype(np.float64), 7.5, exact)
    np.testing.assert_allclose(out, exact, rtol=1e-5, atol=1e-5)
