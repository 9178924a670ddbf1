"""Stable Diffusion 1.x and 2.x: one CLIP encoder's hidden states are the context."""

from __future__ import annotations

from overpaint.bundle.facts import Text

from .conditioning import Conditioning, Encode, Request, cut_by


def condition(text: Text, request: Request, encode: Encode) -> Conditioning:
    """An absent negative prompt is the empty one (diffusers' StableDiffusionPipeline)."""
    [encoder] = text.encoders
    prompts = [request.prompt]
    if request.guided:
        prompts.append(request.negative_prompt or "")
    embeddings = [encode(encoder, prompt) for prompt in prompts]
    context = [{"encoder_hidden_states": embedding.hidden} for embedding in embeddings]
    return Conditioning(
        context[0],
        context[1] if request.guided else None,
        cut_by(embeddings),
    )
