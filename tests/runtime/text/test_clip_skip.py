"""clip_skip takes the layer that diffusers takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tests.parity import LIMIT, PROMPT, Reference, photograph

from overpaint.bundle.errors import UsageError
from overpaint.runtime import Img2Img
from overpaint.runtime.stopwatch import Stopwatch
from overpaint.runtime.text import Prompting

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.mark.parametrize("family", ["sdxl", "sd3"])
def test_a_picture_is_diffusers_with_the_same_layers_skipped(
    family: str, bundles: dict[str, Path], checkpoints: dict[str, Path]
) -> None:
    picture = photograph((64, 64))
    asked = {"strength": 0.6, "guidance_scale": 5.0, "clip_skip": 1}
    theirs = Reference(checkpoints[family])
    sized = {"width": 64, "height": 64} if theirs.flow else {}
    reference = theirs.image(
        PROMPT,
        image=picture,
        num_inference_steps=5,
        generator=torch.Generator().manual_seed(3),
        negative_prompt="a ship",
        **sized,
        **asked,
    )
    with Img2Img.open(bundles[family]) as pipe:
        asked |= {"steps": 5, "seed": 3, "negative_prompt": "a ship"}
        ours = pipe(picture, PROMPT, **asked)  # type: ignore[arg-type]
        plain = pipe(picture, PROMPT, **{**asked, "clip_skip": 0})  # type: ignore[arg-type]
    wanted = np.asarray(reference.images[0]).astype(int)
    assert np.abs(np.asarray(ours.images[0]) - wanted).max() <= LIMIT
    assert ours.images[0].tobytes() != plain.images[0].tobytes()
    assert "Clip skip: 2" in ours.images[0].parameters.infotext()


def test_sd1_reads_the_state_two_from_the_end_through_the_last_norm(
    bundles: dict[str, Path], checkpoints: dict[str, Path]
) -> None:
    """diffusers' own clip_skip for SD 1 fails with transformers 5: it looks for the norm by a name
    that is no longer there. The same by transformers."""
    encoder = transformers.CLIPTextModel.from_pretrained(checkpoints["sd1"] / "text_encoder")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(checkpoints["sd1"] / "tokenizer")
    ids = tokenizer(PROMPT, padding="max_length", max_length=77, truncation=True)["input_ids"]
    with torch.inference_mode():
        out = encoder(torch.tensor([ids]), output_hidden_states=True)
        wanted = encoder.final_layer_norm(out.hidden_states[-2])
    with Img2Img.open(bundles["sd1"]) as pipe:
        [asked] = pipe.bundle.manifest.text.encoders
        found = pipe.engines.text.encode(asked, PROMPT, Stopwatch(), Prompting(clip_skip=1))
    np.testing.assert_allclose(found.hidden, wanted.numpy(), atol=1e-4)


def test_the_negative_prompt_skips_as_the_web_ui_has_it(bundles: dict[str, Path]) -> None:
    with Img2Img.open(bundles["sd1"]) as pipe:

        def painted(**options: Any) -> bytes:
            picture = photograph((64, 64))
            asked = {"guidance_scale": 5.0, "seed": 3, "steps": 4, "strength": 0.5}
            return (
                pipe(picture, PROMPT, negative_prompt="a", **asked, **options).images[0].tobytes()
            )

        skipped = painted(clip_skip=1)
        both = painted(clip_skip=1, clip_skip_negative=True)
        assert len({skipped, both, painted()}) == 3


def test_a_layer_before_the_first_is_refused() -> None:
    with Img2Img.open() as pipe, pytest.raises(UsageError, match=r"clip_skip: expected 2 or less"):
        pipe(photograph((64, 64)), "mountains", clip_skip=3)
