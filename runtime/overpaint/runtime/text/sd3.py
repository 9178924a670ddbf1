"""Stable Diffusion 3 and 3.5: two CLIPs side by side, T5 behind them, both CLIPs pooled."""

from __future__ import annotations

import numpy as np

from overpaint.bundle.errors import ManifestError
from overpaint.bundle.facts import Text

from .conditioning import Array, Conditioning, Encode, Prompts, Side, cut_by, of_both


def condition(text: Text, prompts: Prompts, encode: Encode) -> Conditioning:
    """Contexts (1,77+T,W), and pooled_projections (1,P₁+P₂). An absent negative prompt is "".

    The CLIPs' hidden states are padded with zeros to T5's width W; a bundle without T5 has
    `t5_length` rows of zeros in its place. Source: Esser et al. 2024, "Scaling Rectified Flow
    Transformers", section 4; diffusers' StableDiffusion3Img2ImgPipeline.
    """
    return of_both(prompts, text, encode, _encode)


def _encode(text: Text, prompt: str, encode: Encode, *, negative: bool = False) -> Side:
    each = [(one.kind, encode(one, prompt, negative=negative)) for one in text.encoders]
    clips = [embedding for kind, embedding in each if kind == "clip"]
    t5 = [embedding for kind, embedding in each if kind == "t5"]
    joined = np.concatenate([clip.hidden for clip in clips], axis=-1)
    behind = t5[0].hidden if t5 else _without_t5(text)
    margin = behind.shape[-1] - joined.shape[-1]
    beside = np.pad(joined, ((0, 0), (0, 0), (0, margin)))
    pooled = np.concatenate([clip.pooled for clip in clips if clip.pooled is not None], axis=-1)
    context = np.concatenate([beside, behind], axis=1)
    return {"encoder_hidden_states": context, "pooled_projections": pooled}, cut_by(clips + t5)


def _without_t5(text: Text) -> Array:
    if text.t5_length is None or text.t5_width is None:
        raise ManifestError("text: an SD 3 bundle without T5 must give t5_length and t5_width")
    return np.zeros((1, text.t5_length, text.t5_width), np.float32)
