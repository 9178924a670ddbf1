"""transformers' text encoders: CLIP with and without its projection, T5, and Qwen3."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from overpaint.bundle.errors import CheckpointError
from overpaint.bundle.tensor import DType, Range
from overpaint.bundle.tensor import Tensor as Declared
from overpaint.export.part import BATCH, Config, Part, Wrapper, float32

from .qwen3 import qwen3_part, qwen3_quarters_part
from .small import WIDTH

_INPUTS: Final = (Declared(name="input_ids", dtype="int64", shape=("batch", "tokens")),)


class ClipText(Wrapper):
    """CLIP's text transformer: last_hidden_state, pooler_output, hidden_states.*"""

    def weight_name(self, name: str) -> str:
        """transformers 5 has no `text_model` in this class any more; published files have."""
        return "text_model." + super().weight_name(name)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        [ids] = tensors
        out = self.net(ids, position_ids=positions(ids), output_hidden_states=True)
        hidden = (state.float() for state in out.hidden_states)
        return (out.last_hidden_state.float(), out.pooler_output.float(), *hidden)


class ClipTextWithProjection(Wrapper):
    """The same with its projection: text_embeds, last_hidden_state, hidden_states.*"""

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        [ids] = tensors
        out = self.net(ids, position_ids=positions(ids), output_hidden_states=True)
        hidden = (state.float() for state in out.hidden_states)
        return (out.text_embeds.float(), out.last_hidden_state.float(), *hidden)


class T5Text(Wrapper):
    """T5's encoder -> last_hidden_state. No mask: Stable Diffusion 3 attends to the padding."""

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return (self.net(tensors[0]).last_hidden_state.float(),)


def positions(ids: Tensor) -> Tensor:
    """0, 1, 2, … computed in the graph, where the networks would look them up in a constant."""
    return torch.arange(ids.shape[1], device=ids.device)[None]


def text_part(component: str, class_name: str, config: Config, compute: DType) -> Part:
    """A text encoder, by the class that it was saved from.

    Raises:
        CheckpointError: it is of no class that is known here.
    """
    if class_name not in _PARTS:
        raise CheckpointError(
            f"{component}: expected {', '.join(_PARTS)}, got {class_name}; its family is unknown"
        )
    return _PARTS[class_name](component, class_name, config, compute)


def _clip_part(component: str, class_name: str, config: Config, compute: DType) -> Part:
    width, layers = config["hidden_size"], config["num_hidden_layers"]
    projected = class_name == "CLIPTextModelWithProjection"
    last = float32("last_hidden_state", "batch", "tokens", width)
    hidden = [float32(f"hidden_states.{k}", "batch", "tokens", width) for k in range(layers + 1)]
    outputs = (
        (float32("text_embeds", "batch", config["projection_dim"]), last, *hidden)
        if projected
        else (last, float32("pooler_output", "batch", width), *hidden)
    )
    return Part(
        component=component,
        source=component,
        class_name=class_name,
        config=config,
        inputs=_INPUTS,
        outputs=outputs,
        ranges={
            "batch": BATCH,
            "tokens": Range(minimum=1, maximum=config["max_position_embeddings"]),
        },
        compute=compute,
        wrapper=ClipTextWithProjection if projected else ClipText,
        reduced=lambda: _clip_part(component, class_name, _smaller_clip(config), compute),
    )


def _t5_part(component: str, class_name: str, config: Config, compute: DType) -> Part:
    return Part(
        component=component,
        source=component,
        class_name=class_name,
        config=config,
        inputs=_INPUTS,
        outputs=(float32("last_hidden_state", "batch", "tokens", config["d_model"]),),
        ranges={"batch": BATCH, "tokens": Range(minimum=1, maximum=512)},
        compute=compute,
        wrapper=T5Text,
        reduced=lambda: _t5_part(component, class_name, _smaller_t5(config), compute),
    )


_PARTS: Final[dict[str, Callable[[str, str, Config, DType], Part]]] = {
    "CLIPTextModel": _clip_part,
    "CLIPTextModelWithProjection": _clip_part,
    "T5EncoderModel": _t5_part,
    "Qwen3Model": qwen3_part,
    "Qwen3ForCausalLM": qwen3_quarters_part,
}


def _smaller_clip(config: Config) -> Config:
    return {
        **config,
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "projection_dim": WIDTH,
        "vocab_size": 1000,
    }


def _smaller_t5(config: Config) -> Config:
    return {
        **config,
        "d_model": WIDTH,
        "d_kv": 16,
        "d_ff": 2 * WIDTH,
        "num_layers": 2,
        "num_heads": 4,
        "vocab_size": 1000,
    }
