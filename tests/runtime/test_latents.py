"""Moments become latents as in diffusers, and latents become the decoder's input again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

from overpaint.bundle.facts import Latents
from overpaint.runtime import latents

PLAIN = Latents(channels=4, downscale=8, multiple=8, scaling=0.18215)
SHIFTED = Latents(channels=4, downscale=8, multiple=16, scaling=1.5305, shift=0.0609)
WHITENED = Latents(
    channels=4, downscale=8, multiple=8, scaling=0.5, mean=(0.1, -2, 3, 0), std=(1, 2, 0.5, 4)
)


def test_the_posterior_is_sampled_as_in_diffusers_even_where_the_variance_is_clipped() -> None:
    moments = torch.randn(2, 8, 6, 5, generator=torch.Generator().manual_seed(0)) * 3
    moments[0, 4:, 0] = 100.0
    moments[1, 4:, 0] = -100.0
    posterior = DiagonalGaussianDistribution(moments)
    expected = posterior.sample(torch.Generator().manual_seed(5)) * 0.18215
    noise = torch.randn(2, 4, 6, 5, generator=torch.Generator().manual_seed(5)).numpy()
    ours = latents.encode(moments.numpy(), noise, PLAIN)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected.numpy(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("spec", [PLAIN, SHIFTED, WHITENED], ids=["plain", "shifted", "whitened"])
def test_decoding_undoes_encoding(spec: Latents) -> None:
    mean = np.random.default_rng(0).normal(size=(2, 4, 3, 5)).astype(np.float32)
    moments = np.concatenate([mean, np.full_like(mean, -30)], axis=1)
    z = latents.encode(moments, np.zeros_like(mean), spec)
    np.testing.assert_allclose(latents.decode(z, spec), mean, rtol=1e-5, atol=1e-6)


def test_scaling_and_shift_go_the_way_that_each_family_defines() -> None:
    moments = np.ones((1, 8, 1, 1), np.float32)
    moments[:, 4:] = -30
    still = np.zeros((1, 4, 1, 1), np.float32)
    assert latents.encode(moments, still, SHIFTED)[0, 0, 0, 0] == pytest.approx(0.9391 * 1.5305)
    whitened = latents.encode(moments, still, WHITENED)[0, :, 0, 0]
    assert whitened == pytest.approx([0.9 * 0.5, 3 * 0.5 / 2, -2 * 0.5 / 0.5, 0.5 / 4])


def test_a_preview_maps_channels_to_colours_by_the_bundles_own_numbers() -> None:
    x0 = np.zeros((2, 3, 4), np.float32)
    x0[0, 0, 0] = 1
    image = latents.preview(x0, ((2.0, 0.0, 0.0), (0.0, 0.0, 0.0), (-1.0, -1.0, 1.0)))
    assert image.size == (4, 3)
    assert image.getpixel((0, 0)) == (255, 0, 255)
    assert image.getpixel((1, 0)) == (0, 0, 255)


def test_without_such_numbers_a_preview_is_grey() -> None:
    x0 = np.linspace(-3, 3, 12, dtype=np.float32).reshape(1, 3, 4)
    grey = np.asarray(latents.preview(x0, None))
    assert (grey[..., 0] == grey[..., 2]).all()
    assert grey[0, 0, 0] < grey[2, 3, 0]


@pytest.mark.parametrize("cells", [(12, 10), (9, 31), (3, 2), (6, 5)])
def test_latents_are_stretched_as_torch_interpolates(cells: tuple[int, int]) -> None:
    z = torch.randn(2, 4, 6, 5, generator=torch.Generator().manual_seed(1))
    expected = torch.nn.functional.interpolate(z, size=cells, mode="bilinear").numpy()
    ours = latents.resized(z.numpy(), cells)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
