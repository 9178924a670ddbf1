"""One frame: read, encoded, denoised, decoded. The same numbers as a call of the pipeline."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
from PIL import Image

from overpaint.runtime import latents
from overpaint.runtime.denoiser.residual import residual
from overpaint.runtime.feed import as_feed
from overpaint.runtime.image import from_pixels, place, to_pixels
from overpaint.runtime.loop import denoise
from overpaint.runtime.prepare import VAE_LATENTS
from overpaint.runtime.start import Moments, fill, start, starts_from_noise

from .scene import Scene

Array = npt.NDArray[np.float32]


def framed(scene: Scene, picture: Image.Image) -> Image.Image:
    """An upright RGB picture at the size of the run."""
    job = scene.job
    return place(picture.size, job.size, job.resolved.settings.resize).canvas(picture)


def encode(scene: Scene, canvas: Image.Image) -> Moments:
    """What the VAE makes of a frame at the size of the run."""
    if starts_from_noise(scene.job):
        return Moments(picture=None, masked=None)
    feed = as_feed(scene.encoder, {"sample": to_pixels(canvas)})
    return Moments(picture=latents.moments(scene.encoder.run(feed)), masked=None)


def repaint(scene: Scene, moments: Moments) -> Array:
    """Latents (1,C,h,w) -> those of the repainted frame."""
    begun = start(scene.job, moments, scene.scale)
    x = begun.x
    draw = functools.partial(fill, begun.generators)
    denoiser = scene.denoiser
    if scene.residual_guidance != 1 and begun.z is not None:
        denoiser = residual(denoiser, begun.z, scene.prediction, scene.residual_guidance)
    for row in denoise(denoiser, x, scene.job.schedule, draw=draw):
        x = row.state.x
    return x


def decode(scene: Scene, x: Array) -> Image.Image:
    """The repainted frame."""
    feed = as_feed(scene.decoder, {VAE_LATENTS: latents.decode(x, scene.scale)})
    [image] = from_pixels(scene.decoder.run(feed)["sample"])
    return image
