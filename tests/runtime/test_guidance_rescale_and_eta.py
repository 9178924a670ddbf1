"""guidance_rescale and eta are diffusers', in whole pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.parity import LIMIT, PROMPT, SCHEDULERS, SEED, Reference, difference, photograph

from overpaint.bundle.errors import UsageError
from overpaint.runtime import Img2Img

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SIZE = (64, 64)
STEPS, GUIDANCE, NEGATIVE = 8, 5.0, "blurry, text"


@pytest.fixture(scope="module")
def sdxl(tiny_sdxl: Path, tiny_sdxl_bundle: Path) -> tuple[Reference, Img2Img]:
    return Reference(tiny_sdxl), Img2Img.open(tiny_sdxl_bundle)


def theirs(
    reference: Reference, sampler: str, strength: float | None, **options: Any
) -> np.ndarray:
    pipe = reference.text if strength is None else reference.image
    start: dict[str, Any] = {"width": SIZE[0], "height": SIZE[1]}
    if strength is not None:
        start = {"image": photograph(SIZE), "strength": strength}
    own = reference.scheduler
    pipe.scheduler = SCHEDULERS[sampler](own.config) or own
    images = pipe(
        PROMPT,
        negative_prompt=NEGATIVE,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        generator=torch.Generator().manual_seed(SEED),
        **start,
        **options,
    ).images
    return np.asarray(images[0])


def ours(pipe: Img2Img, sampler: str, strength: float | None, **options: Any) -> np.ndarray:
    common: dict[str, Any] = {
        "negative_prompt": NEGATIVE,
        "steps": STEPS,
        "guidance_scale": GUIDANCE,
        "sampler": sampler,
        "seed": SEED,
        **options,
    }
    if strength is None:
        return np.asarray(pipe.text_to_image(PROMPT, size=SIZE, **common).images[0])
    return np.asarray(pipe(photograph(SIZE), PROMPT, strength=strength, **common).images[0])


@pytest.mark.parametrize("strength", [0.7, None])
@pytest.mark.parametrize(
    ("sampler", "options"),
    [
        ("default", {"guidance_rescale": 0.7}),
        ("dpmpp-2m", {"guidance_rescale": 1.0}),
        ("ddim", {"eta": 0.5}),
        ("ddim", {"eta": 1.0, "guidance_rescale": 0.3}),
        ("tcd", {"eta": 0.3}),
    ],
)
def test_guidance_rescale_and_eta_paint_diffusers_picture(
    sdxl: tuple[Reference, Img2Img],
    sampler: str,
    options: dict[str, float],
    strength: float | None,
) -> None:
    reference, pipe = sdxl
    wanted = theirs(reference, sampler, strength, **options)
    assert difference(wanted, ours(pipe, sampler, strength, **options)) <= LIMIT
    assert difference(wanted, ours(pipe, sampler, strength)) > 3 * LIMIT, "it does something"


def test_eta_is_refused_where_the_sampler_has_none(sdxl: tuple[Reference, Img2Img]) -> None:
    with pytest.raises(UsageError, match=r"eta: euler has none; it belongs to ddim .* and tcd"):
        ours(sdxl[1], "euler", 0.7, eta=0.5)
