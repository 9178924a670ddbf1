"""Z-Image: Qwen3's states of a chat's first message, as many as it has tokens."""

from __future__ import annotations

from typing import Final

import numpy as np

from overpaint.bundle.facts import Text

from .conditioning import Conditioning, Encode, Prompts, Side, of_both

GROUP: Final = 32
"""The denoiser takes whole groups of tokens, and fills up itself what a prompt lacks."""
_BEFORE: Final = "<|im_start|>user\n"
_BEHIND: Final = "<|im_end|>\n<|im_start|>assistant\n"
_END: Final = "<|im_end|>"


def condition(text: Text, prompts: Prompts, encode: Encode) -> Conditioning:
    """Context (1,T,W), T in whole groups, and caption_length (1,): how many rows are the prompt's.
    An absent negative prompt is "".

    Around a prompt lies what Qwen3's own template puts around a message that is to be answered
    after thinking. Source: diffusers' ZImageImg2ImgPipeline.
    """
    return of_both(prompts, text, encode, _encode)


def _encode(text: Text, prompt: str, encode: Encode, *, negative: bool = False) -> Side:
    [encoder] = text.encoders
    message = encode(encoder, f"{_BEFORE}{prompt}{_BEHIND}", negative=negative)
    length = message.hidden.shape[1]
    cut = message.cut.partition(_END)[0].strip()
    context = {
        "encoder_hidden_states": np.pad(message.hidden, ((0, 0), (0, -length % GROUP), (0, 0))),
        "caption_length": np.array([length], np.int64),
    }
    return context, (cut,) if cut else ()
