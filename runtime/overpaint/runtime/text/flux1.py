"""FLUX.1: T5's states are the context, CLIP's pooled vector goes with the time."""

from __future__ import annotations

from overpaint.bundle.facts import Text

from .conditioning import Conditioning, Encode, Prompts, Side, cut_by, of_both


def condition(text: Text, prompts: Prompts, encode: Encode) -> Conditioning:
    """Context (1,T,W), and pooled_projections (1,P). An absent negative prompt is "".

    Source: Black Forest Labs' flux, `sampling.py`; diffusers' FluxImg2ImgPipeline.
    """
    return of_both(prompts, text, encode, _encode)


def _encode(text: Text, prompt: str, encode: Encode, *, negative: bool = False) -> Side:
    clip, t5 = (encode(encoder, prompt, negative=negative) for encoder in text.encoders)
    assert clip.pooled is not None
    context = {"encoder_hidden_states": t5.hidden, "pooled_projections": clip.pooled}
    # What CLIP cuts T5 still reads; the pooled vector alone misses it.
    return context, cut_by([t5])
