"""Text to image in two passes: a picture of the size that a checkpoint knows, then that picture
enlarged and repainted a little, in tiles where it is large.

What AUTOMATIC1111's web UI calls "hires. fix", with Lanczos for its upscaler, or a network that the
pipeline was opened with, or "Latent": the latents of the first picture, as the VAE reads it again.
The second pass runs exactly as many steps as it is told.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace

from .cancel import Cancel
from .engines import Engines
from .metadata import Painting, Parameters
from .request import Request
from .resolved import HIRES_STRENGTH
from .result import Complete, Result, Step, Timings
from .run import run
from .tiles.tile import AUTO


def is_hires(request: Request) -> bool:
    """Whether a request is for two passes."""
    return request.image is None and request.settings.upscale is not None


def run_hires(
    engines: Engines, request: Request, cancel: Cancel | None = None
) -> Iterator[Step | Complete]:
    """As `run`, for text to image with `upscale`; a refiner has its part in the first pass."""
    settings = request.settings
    plain = replace(settings, upscale=None, upscale_strength=None, upscale_steps=None)
    first = yield from _steps(run(engines, replace(request, settings=plain), cancel), 0, 0)
    assert settings.upscale is not None
    strength = HIRES_STRENGTH if settings.upscale_strength is None else settings.upscale_strength
    done, passes, upscaler = len(first.timings.steps), [first], engines.enlarging(settings)
    pairs = zip(first.images, first.seeds, strict=True)
    for at, (image, seed) in enumerate(pairs):
        size, began = _enlarged(engines, image.size, settings.upscale), time.perf_counter()
        start = upscaler.enlarge(image, size, cancel) if upscaler else image
        enlarging = time.perf_counter() - began
        asked = replace(
            plain,
            size=size,
            strength=strength,
            steps=settings.upscale_steps or first.parameters.resolved.steps,
            steps_mode="exact",
            denoising_end=None,
            seed=seed,
            seeds=None,
            n=1,
            tile=settings.tile or AUTO,
        )
        second = replace(request, image=start, settings=asked, refiner=None)
        left = len(first.images) - at - 1
        painted = yield from _steps(run(engines, second, cancel), done, left)
        timings = painted.timings
        read, total = timings.read + enlarging, timings.total + enlarging
        passes.append(replace(painted, timings=replace(timings, read=read, total=total)))
        done += len(passes[-1].timings.steps)
    yield Complete(_result(engines, request, passes))


def _steps(
    events: Iterator[Step | Complete], before: int, left: int
) -> Generator[Step, None, Result]:
    """The steps of a pass, counted on from those before it, with as many passes like it `left`."""
    for event in events:
        if isinstance(event, Complete):
            return event.result
        total = before + event.total * (1 + left)
        yield replace(event, index=before + event.index, total=total)
    raise AssertionError("a run ends in Complete or an error")


def _enlarged(engines: Engines, size: tuple[int, int], upscale: float) -> tuple[int, int]:
    multiple = engines.bundle.manifest.latents.multiple
    width, height = (round(side * upscale / multiple) * multiple for side in size)
    return width, height


def _result(engines: Engines, request: Request, passes: Sequence[Result]) -> Result:
    """What is told of all passes: the parameters are those that make the picture again."""
    first, *others = passes
    steps_run, upscaler = first.steps_run + others[0].steps_run, engines.enlarging(request.settings)

    def told(image: Painting) -> Parameters:
        given = image.parameters
        resolved = replace(given.resolved, settings=request.settings)
        return replace(
            given,
            resolved=resolved,
            steps_run=steps_run,
            upscaler=upscaler.name if upscaler else None,
            upscaler_sha256=upscaler.sha256 if upscaler else None,
        )

    pairs = zip(others, first.images, strict=True)
    images = tuple(Painting.of(one.images[0], told(image)) for one, image in pairs)
    return replace(
        first,
        images=images,
        steps_run=steps_run,
        evaluations=sum(one.evaluations for one in passes),
        exact_evaluations=sum(one.exact_evaluations for one in passes),
        timings=_together([one.timings for one in passes]),
        warnings=tuple(dict.fromkeys(w for one in passes for w in one.warnings)),
        parameters=images[0].parameters,
    )


def _together(timings: Sequence[Timings]) -> Timings:
    return Timings(
        total=sum(one.total for one in timings),
        load=sum(one.load for one in timings),
        read=sum(one.read for one in timings),
        text=sum(one.text for one in timings),
        encode=sum(one.encode for one in timings),
        decode=sum(one.decode for one in timings),
        steps=tuple(step for one in timings for step in one.steps),
    )
