"""One CLIP encoder's hidden states are the context."""

from __future__ import annotations

from overpaint.bundle.facts import Text

from .conditioning import Conditioning, Encode, Prompts, cut_by


def condition(text: Text, prompts: Prompts, encode: Encode) -> Conditioning:
    """An absent negative prompt is the empty one (diffusers' StableDiffusionPipeline)."""
    [encoder] = text.encoders
    embeddings = [encode(encoder, prompts.prompt)]
    if prompts.guided:
        embeddings.append(encode(encoder, prompts.negative_prompt or "", negative=True))
    context = [{"encoder_hidden_states": embedding.hidden} for embedding in embeddings]
    return Conditioning(
        context[0],
        context[1] if prompts.guided else None,
        cut_by(embeddings),
    )
