"""Stable Diffusion XL, base and refiner: contexts side by side, a pooled vector, time ids."""

from __future__ import annotations

from typing import Final

import numpy as np

from overpaint.bundle.facts import Text

from .conditioning import Array, Conditioning, Encode, Prompts, cut_by

AESTHETIC_SCORE: Final = 6.0
NEGATIVE_AESTHETIC_SCORE: Final = 2.5


def condition(text: Text, prompts: Prompts, encode: Encode) -> Conditioning:
    """Contexts (1,L,W₁+W₂), text_embeds (1,P) of the encoder that projects, time_ids (1,6).

    Source: Podell et al. 2023, "SDXL", section 2.2; diffusers' StableDiffusionXLImg2ImgPipeline.
    """
    positive, cut = _encode(text, prompts.prompt, encode)
    positive["time_ids"] = _time_ids(text, prompts, AESTHETIC_SCORE)
    if not prompts.guided:
        return Conditioning(positive, None, cut)
    if prompts.negative_prompt is None and text.zeros_for_absent_negative:
        negative = {name: np.zeros_like(array) for name, array in positive.items()}
    else:
        negative, negative_cut = _encode(text, prompts.negative_prompt or "", encode, negative=True)
        cut += negative_cut
    negative["time_ids"] = _time_ids(text, prompts, NEGATIVE_AESTHETIC_SCORE)
    return Conditioning(positive, negative, cut)


def _encode(
    text: Text, prompt: str, encode: Encode, *, negative: bool = False
) -> tuple[dict[str, Array], tuple[str, ...]]:
    embeddings = [encode(encoder, prompt, negative=negative) for encoder in text.encoders]
    [pooled] = [one.pooled for one in embeddings if one.pooled is not None]
    context = np.concatenate([one.hidden for one in embeddings], axis=-1)
    return {"encoder_hidden_states": context, "text_embeds": pooled}, cut_by(embeddings)


def _time_ids(text: Text, prompts: Prompts, score: float) -> Array:
    """The original size, the crop's corner, and the target size, or for a refiner the score."""
    width, height = prompts.size
    last = [score] if text.aesthetic_score else [height, width]
    # float32 whatever the engines compute in: half precision has no 1,023.
    return np.asarray([[height, width, 0, 0, *last]], np.float32)
