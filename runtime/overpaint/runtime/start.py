"""What the loop starts from: the picture with noise in it, or noise alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from overpaint.bundle.facts import Latents

from . import latents
from .masks.masking import Masking
from .noise import Generator, generator
from .prepare import Job
from .shown import Shown
from .variation import slerp

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Of the VAE's posteriors, (1,2C,h,w), or (1,C,h,w) where they have no width: the picture's,
    None where none enters the run; for an inpainting denoiser, those of the picture with the masked
    part left out; and those of pictures that the denoiser looks at besides."""

    picture: Array | None
    masked: Array | None
    others: tuple[Array, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """x (n,C,h,w), a generator for each image, which goes on from there; and for masks the
    picture's own latents z and the noise in x, both (n,C,h,w), and the channels (n,1+C,h,w) that an
    inpainting denoiser sees beside x. pictures: what the denoiser looks at, None where it
    looks at none."""

    x: Array
    generators: list[Generator]
    z: Array | None
    noise: Array | None
    channels: Array | None
    pictures: Shown | None


def starts_from_noise(job: Job) -> bool:
    """Whether x is noise alone. As diffusers has it, strength 1 says so where a part is masked,
    and does not without a mask or with a soft one."""
    if job.pixels is None:
        return True
    masking, resolved = job.masking, job.resolved
    hard = masking is not None and not masking.soft
    return hard and resolved.strength == 1 and resolved.denoising_start is None


def start(job: Job, moments: Moments, scale: Latents, *, looks: bool = False) -> Start:
    """Draw all that is drawn before the loop. Image by image, in a generator's order in diffusers:
    the picture's posterior, the noise, the masked picture's posterior; then what fills the mask.
    `looks`: whether the denoiser looks at pictures."""
    generators = [generator(job.resolved.rng, seed) for seed in job.resolved.seeds]
    shape, schedule = job.latent_shape(scale), job.schedule
    z = noise = channels = pictures = None
    if moments.picture is not None:
        z = _sampled(moments.picture, generators, scale)
        if z.shape[1:] != shape:
            z = latents.resized(z, shape[1:])
    if looks:
        pictures = Shown(
            picture=None if z is None else z[:1],
            others=tuple(latents.scaled(one, scale) for one in moments.others),
        )
    if z is None or schedule.noise or job.masking is not None:
        noise = _varied(job, draw(generators, shape))
    if moments.masked is not None or job.masking is not None:
        sample = draw(generators, shape)
        if moments.masked is not None:
            seen = latents.encode(moments.masked, sample, scale)
            channels = np.concatenate([_cells(job, seen), seen], axis=1)
    if z is not None and job.masking is not None:
        z = _filled(z, job.masking, generators)
    return Start(
        x=_noised(job, z, noise),
        generators=generators,
        z=z,
        noise=noise,
        channels=channels,
        pictures=pictures,
    )


def _sampled(moments: Array, generators: Sequence[Generator], scale: Latents) -> Array:
    """Latents (n,C,h,w), one drawn by each generator, or all alike where nothing is to be drawn."""
    own = scale.channels, *moments.shape[2:]
    if latents.has_width(moments, scale):
        return latents.encode(moments, draw(generators, own), scale)
    return np.repeat(latents.scaled(moments, scale), len(generators), axis=0)


def _varied(job: Job, noise: Array) -> Array:
    """The noise of each image, with its share of its variation seed's."""
    resolved, strength = job.resolved, job.resolved.settings.variation_strength
    for image, seed in zip(noise, resolved.variation_seeds, strict=True):
        if seed is not None:
            other = generator(resolved.rng, seed).normal(image.shape)
            image[:] = slerp(strength, image, other)
    return noise


def draw(generators: Sequence[Generator], shape: tuple[int, ...]) -> Array:
    """Noise (B,C,h,w) for latents of `shape` (C,h,w)."""
    out = np.empty((len(generators), *shape), np.float32)
    fill(generators, out)
    return out


def fill(generators: Sequence[Generator], out: Array) -> None:
    """Each image's noise from its own generator, so that no image depends on its batch."""
    for one, image in zip(generators, out, strict=True):
        one.fill(image)


def _noised(job: Job, z: Array | None, noise: Array | None) -> Array:
    schedule = job.schedule
    if z is None or (noise is not None and schedule.rows and starts_from_noise(job)):
        assert noise is not None
        return noise * np.float32(schedule.initial)
    if not schedule.noise:  # nothing to run, or a picture that counts as noisy
        return z
    assert noise is not None
    return z * np.float32(schedule.signal) + noise * np.float32(schedule.noise)


def _cells(job: Job, like: Array) -> Array:
    """The mask that an inpainting denoiser sees, (n,1,h,w): without one, all is repainted."""
    n, _, height, width = like.shape
    if job.masking is None:
        return np.ones((n, 1, height, width), np.float32)
    seen = (job.masking.cells > 0).astype(np.float32)
    return np.broadcast_to(seen, (n, 1, height, width))


def _filled(z: Array, masking: Masking, generators: Sequence[Generator]) -> Array:
    """z with noise, or nothing, where the mask asks for it."""
    if masking.fill is None:
        return z
    instead = draw(generators, z.shape[1:]) if masking.fill == "noise" else np.float32(0)
    return np.where(masking.cells >= 0.5, instead, z)
