"""Each component as a function of plain tensors: what is traced, and what parity is measured with.

A wrapper's parameters are called what the checkpoint calls them once `net.` is taken off the front.
Whatever its network computes in, floating-point tensors go in and out as float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

FOLLOWS_NETWORK = frozenset({"timestep", "time_ids"})
"""Inputs that a network embeds in float32 and rounds itself: half precision has too few digits."""

ALWAYS_RESIZE = 20
"""A number of upsamplers so large that no latent size is a multiple of its power of two.

A UNet that is given such a size tells its upsamplers the exact size to make, which is right for
every size; else it would be traced as doubling, which is right for some.
"""


class Wrapper(nn.Module):
    """`forward` takes the tensors called `names`, in order."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names = names

    def feed(self, tensors: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The inputs by name, in the network's own precision."""
        dtype = next(p.dtype for p in self.parameters() if p.is_floating_point())
        return {
            name: tensor.to(dtype)
            if tensor.is_floating_point() and name not in FOLLOWS_NETWORK
            else tensor
            for name, tensor in zip(self.names, tensors, strict=True)
        }


class Unet(Wrapper):
    """diffusers' UNet2DConditionModel -> out_sample."""

    def __init__(self, net: Any, names: tuple[str, ...]) -> None:
        super().__init__(names)
        self.net = net
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
        super().__init__(names)
        self.net = net

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        [out] = self.net(**self.feed(tensors), return_dict=False)
        return (out.float(),)


class VaeEncoder(Wrapper):
    """AutoencoderKL's posterior: means and log-variances side by side, never a sample of it."""

    def __init__(self, net: Any, names: tuple[str, ...]) -> None:
        super().__init__(names)
        self.net = net

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        moments = self.net.encoder(self.feed(tensors)["sample"])
        if self.net.quant_conv is not None:
            moments = self.net.quant_conv(moments)
        return (moments.float(),)


class VaeDecoder(Wrapper):
    """AutoencoderKL's decoder -> pixels."""

    def __init__(self, net: Any, names: tuple[str, ...]) -> None:
        super().__init__(names)
        self.net = net

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        latents = self.feed(tensors)["latent_sample"]
        if self.net.post_quant_conv is not None:
            latents = self.net.post_quant_conv(latents)
        return (self.net.decoder(latents).float(),)


class ClipText(Wrapper):
    """CLIP's text transformer: last_hidden_state, pooler_output, hidden_states.*"""

    def __init__(self, net: Any, names: tuple[str, ...]) -> None:
        super().__init__(names)
        self.text_model = net

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        [input_ids] = tensors
        out = self.text_model(
            input_ids, position_ids=positions(input_ids), output_hidden_states=True
        )
        hidden = (state.float() for state in out.hidden_states)
        return (out.last_hidden_state.float(), out.pooler_output.float(), *hidden)


class ClipTextWithProjection(Wrapper):
    """The same with its projection: text_embeds, last_hidden_state, hidden_states.*"""

    def __init__(self, net: Any, names: tuple[str, ...]) -> None:
        super().__init__(names)
        self.text_model = net.text_model
        self.text_projection = net.text_projection

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        [input_ids] = tensors
        out = self.text_model(
            input_ids, position_ids=positions(input_ids), output_hidden_states=True
        )
        embeds = self.text_projection(out.pooler_output)
        hidden = (state.float() for state in out.hidden_states)
        return (embeds.float(), out.last_hidden_state.float(), *hidden)


class T5Text(Wrapper):
    """T5's encoder -> last_hidden_state. No mask: Stable Diffusion 3 attends to the padding."""

    def __init__(self, net: Any, names: tuple[str, ...]) -> None:
        super().__init__(names)
        self.net = net

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return (self.net(tensors[0], return_dict=True).last_hidden_state.float(),)


def positions(input_ids: Tensor) -> Tensor:
    """0, 1, 2, … computed in the graph, where the networks would look them up in a constant."""
    return torch.arange(input_ids.shape[1], device=input_ids.device)[None]
