"""One CLIP encoder's hidden states are the context."""

from __future__ import annotations

from overpaint.bundle.facts import Text

from .conditioning import Conditioning, Encode, Prompts, cut_by


def condition(text: Text, prompts: Prompts, encode: Encode) -> Conditioning:
    """An absent negative prompt is the empty one (diffusers' StableDiffusionPipeline)."""
    [encoder] = text.encoders
    texts = [prompts.prompt]
    if prompts.guided:
        texts.append(prompts.negative_prompt or "")
    embeddings = [encode(encoder, text) for text in texts]
    context = [{"encoder_hidden_states": embedding.hidden} for embedding in embeddings]
    return Conditioning(
        context[0],
        context[1] if prompts.guided else None,
        cut_by(embeddings),
    )
