"""FLUX.2 klein: three of Qwen3's states of a chat's first message, and of what fills it up."""

from __future__ import annotations

from overpaint.bundle.facts import Text

from .chat import cut_of, message
from .conditioning import Conditioning, Encode, Prompts, Side, of_both


def condition(text: Text, prompts: Prompts, encode: Encode) -> Conditioning:
    """Context (1,T,W), as many tokens whatever the prompt. An absent negative prompt is "".

    Around a prompt lies what Qwen3's own template puts around a message that is to be answered at
    once. Source: diffusers' Flux2KleinPipeline.
    """
    return of_both(prompts, text, encode, _encode)


def _encode(text: Text, prompt: str, encode: Encode, *, negative: bool = False) -> Side:
    [encoder] = text.encoders
    found = encode(encoder, message(prompt, thinking=False), negative=negative)
    return {"encoder_hidden_states": found.hidden}, cut_of(found.cut)
