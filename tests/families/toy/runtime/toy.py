"""The first encoder's hidden states, and how wide the picture is."""

from __future__ import annotations

import numpy as np

from overpaint.bundle.facts import Text
from overpaint.runtime.text.conditioning import Conditioning, Encode, Prompts


def condition(text: Text, prompts: Prompts, encode: Encode) -> Conditioning:
    """No negative prompt, ever."""
    embedding = encode(text.encoders[0], prompts.prompt)
    width = np.float32([[prompts.size[0]]])
    return Conditioning({"encoder_hidden_states": embedding.hidden, "width": width}, None)
