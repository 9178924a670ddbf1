"""Z-Image: Qwen3's states of a chat's first message, as many as it has tokens."""

from __future__ import annotations

from typing import Final

import numpy as np

from overpaint.bundle.facts import Text

from .chat import cut_of, message
from .conditioning import Conditioning, Encode, Prompts, Side, of_both

GROUP: Final = 32
"""The denoiser takes whole groups of tokens, and fills up itself what a prompt lacks."""


def condition(text: Text, prompts: Prompts, encode: Encode) -> Conditioning:
    """Context (1,T,W), T in whole groups, and caption_length (1,): how many rows are the prompt's.
    An absent negative prompt is "".

    Around a prompt lies what Qwen3's own template puts around a message that is to be answered
    after thinking. Source: diffusers' ZImageImg2ImgPipeline.
    """
    return of_both(prompts, text, encode, _encode)


def _encode(text: Text, prompt: str, encode: Encode, *, negative: bool = False) -> Side:
    [encoder] = text.encoders
    found = encode(encoder, message(prompt, thinking=True), negative=negative)
    length = found.hidden.shape[1]
    context = {
        "encoder_hidden_states": np.pad(found.hidden, ((0, 0), (0, -length % GROUP), (0, 0))),
        "caption_length": np.array([length], np.int64),
    }
    return context, cut_of(found.cut)
