"""The names of a text encoder's tensors in single files, from those in transformers' folders.

CLIP-L, T5 and Qwen3 are stored under transformers' names; OpenCLIP (mlfoundations/open_clip,
`transformer.py`) fuses query, key and value and multiplies by its projection from the other side.
"""

from __future__ import annotations

import re
from typing import Final

from overpaint.bundle.checkpoint.source import Rows, Source, third, whole

_OPENCLIP: Final = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
}
_OPENCLIP_LAYER: Final = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_LAYER: Final = re.compile(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")


def clip_source(name: str) -> Source:
    """Where a tensor of a CLIP text encoder lies; `text_model.` is always written out there."""
    if name == "text_projection.weight":
        return whole(name)
    return whole("text_model." + name.removeprefix("text_model."))


def t5_source(name: str) -> Source:
    """Where a tensor of T5's encoder lies. Its embedding has two names, and one is stored."""
    return whole("shared.weight" if name == "encoder.embed_tokens.weight" else name)


def qwen3_source(name: str) -> Source:
    """Where a tensor of Qwen3 lies: always within the language model that it is a part of."""
    return whole("model." + name.removeprefix("model."))


def openclip_source(name: str) -> Source | None:
    """Where a tensor of a text encoder lies that was trained with OpenCLIP."""
    if name == "text_projection.weight":
        return Source((Rows("text_projection"),), transposed=True)
    name = name.removeprefix("text_model.")
    if name in _OPENCLIP:
        return whole(_OPENCLIP[name])
    layer = _LAYER.fullmatch(name)
    if layer is None:
        return None
    block, module, kind = f"transformer.resblocks.{layer[1]}", layer[2], layer[3]
    if module in _OPENCLIP_LAYER:
        return whole(f"{block}.{_OPENCLIP_LAYER[module]}.{kind}")
    for part, letter in enumerate("qkv"):
        if module == f"self_attn.{letter}_proj":
            return third(f"{block}.attn.in_proj_{kind}", part)
    return None
