"""Each component as a function of plain tensors: what is traced, and what parity is measured with.

Whatever its network computes in, floating-point tensors go in and out as float32.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn

from overpaint.bundle import layout

from .joint_attention import JointAttention

ROUNDED_LATER: Final = frozenset({"timestep", "time_ids", "text_embeds"})
"""Inputs that a network rounds itself, once it has embedded the times in float32: half precision
has too few digits for them, and the pooled text is joined to them."""

ALWAYS_RESIZE: Final = 20
"""A number of upsamplers so large that no latent size is a multiple of its power of two.

A UNet that is given such a size tells its upsamplers the exact size to make, which is right for
every size; else it would be traced as doubling, which is right for some.
"""


class Wrapper(nn.Module):
    """`net` with tensors of the given names, in order, for `forward`."""

    def __init__(self, net: Any, names: tuple[str, ...]) -> None:
        super().__init__()
        self.net = net
        self.names = names

    def weight_name(self, name: str) -> str:
        """What a checkpoint calls the parameter that is `name` here."""
        return name.removeprefix("net.")

    def feed(self, tensors: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The inputs by name, in the network's own precision."""
        dtype = next(p.dtype for p in self.parameters() if p.is_floating_point())
        return {
            name: tensor.to(dtype)
            if tensor.is_floating_point() and name not in ROUNDED_LATER
            else tensor
            for name, tensor in zip(self.names, tensors, strict=True)
        }


class Unet(Wrapper):
    """diffusers' UNet2DConditionModel -> out_sample."""

    def __init__(self, net: Any, names: tuple[str, ...]) -> None:
        super().__init__(net, names)
        self.net.num_upsamplers = ALWAYS_RESIZE

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        feed = self.feed(tensors)
        added = {name: feed[name] for name in ("text_embeds", "time_ids") if name in feed}
        [out] = self.net(
            feed["sample"],
            feed["timestep"],
            feed["encoder_hidden_states"],
            timestep_cond=feed.get("timestep_cond"),
            added_cond_kwargs=added or None,
            return_dict=False,
        )
        return (out.float(),)


class Transformer(Wrapper):
    """diffusers' SD3Transformer2DModel -> out_hidden_states."""

    def __init__(self, net: Any, names: tuple[str, ...]) -> None:
        super().__init__(net, names)
        self.net.set_attn_processor(JointAttention())

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        [out] = self.net(**self.feed(tensors), return_dict=False)
        return (out.float(),)


class VaeEncoder(Wrapper):
    """AutoencoderKL's posterior: means and log-variances side by side, never a sample of it."""

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        moments = self.net.encoder(self.feed(tensors)["sample"])
        if self.net.quant_conv is not None:
            moments = self.net.quant_conv(moments)
        return (moments.float(),)


class VaeDecoder(Wrapper):
    """AutoencoderKL's decoder -> pixels."""

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        latents = self.feed(tensors)["latent_sample"]
        if self.net.post_quant_conv is not None:
            latents = self.net.post_quant_conv(latents)
        return (self.net.decoder(latents).float(),)


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


WRAPPERS: Final[dict[str, type[Wrapper]]] = {
    "UNet2DConditionModel": Unet,
    "SD3Transformer2DModel": Transformer,
    "CLIPTextModel": ClipText,
    "CLIPTextModelWithProjection": ClipTextWithProjection,
    "T5EncoderModel": T5Text,
    layout.VAE_ENCODER: VaeEncoder,
    layout.VAE_DECODER: VaeDecoder,
}
"""By class of the network; for AutoencoderKL, of which there are two, by component."""


def positions(ids: Tensor) -> Tensor:
    """0, 1, 2, … computed in the graph, where the networks would look them up in a constant."""
    return torch.arange(ids.shape[1], device=ids.device)[None]
