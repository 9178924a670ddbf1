"""diffusers' UNet2DConditionModel -> out_sample."""

from __future__ import annotations

from typing import Any, Final

from torch import Tensor

from overpaint.bundle.tensor import DType
from overpaint.export.part import BATCH, CONTEXT, Config, Part, Wrapper, float32, latent_ranges

from .small import CHANNELS, HEADS, NORM_GROUPS, WIDTH

ALWAYS_RESIZE: Final = 20
"""A number of upsamplers so large that no latent size is a multiple of its power of two.

A UNet that is given such a size tells its upsamplers the exact size to make, which is right for
every size; else it would be traced as doubling, which is right for some.
"""


class Unet(Wrapper):
    """diffusers' UNet2DConditionModel -> out_sample."""

    rounded_later = frozenset({"timestep", "time_ids", "text_embeds"})

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


def unet_part(config: Config, compute: DType, pooled: int | None = None) -> Part:
    """UNet2DConditionModel of Stable Diffusion 1, 2 and XL.

    `pooled`: how wide the pooled text of XL's second encoder is.
    """
    channels, width = config["in_channels"], config["cross_attention_dim"]
    inputs = [
        float32("sample", "batch", channels, "latent_height", "latent_width"),
        float32("timestep"),
        float32("encoder_hidden_states", "batch", "tokens", width),
    ]
    if pooled is not None:
        inputs += [
            float32("text_embeds", "batch", pooled),
            float32("time_ids", "batch", _time_id_count(config, pooled)),
        ]
    if config.get("time_cond_proj_dim"):
        inputs.append(float32("timestep_cond", "batch", config["time_cond_proj_dim"]))
    out = float32("out_sample", "batch", config["out_channels"], "latent_height", "latent_width")
    return Part(
        component="unet",
        source="unet",
        class_name="UNet2DConditionModel",
        config=config,
        inputs=tuple(inputs),
        outputs=(out,),
        ranges={"batch": BATCH, "tokens": CONTEXT, **latent_ranges()},
        compute=compute,
        wrapper=Unet,
        reduced=lambda: _reduced(config, compute, pooled),
    )


def _time_id_count(config: Config, pooled: int) -> int:
    """How many time ids an XL's UNet takes: a base model 6, a refiner 5."""
    total, each = config["projection_class_embeddings_input_dim"], config["addition_time_embed_dim"]
    return int(total - pooled) // int(each)


def _reduced(config: Config, compute: DType, pooled: int | None) -> Part:
    levels = len(config["block_out_channels"])
    depths = config.get("transformer_layers_per_block", 1)
    heads = config.get("attention_head_dim", 8)
    small: Config = {
        **config,
        "block_out_channels": CHANNELS[:levels],
        "norm_num_groups": NORM_GROUPS,
        "layers_per_block": 1,
        "attention_head_dim": heads if isinstance(heads, int) else HEADS[:levels],
        "transformer_layers_per_block": (
            min(depths, 2) if isinstance(depths, int) else [min(depth, 2) for depth in depths]
        ),
        "cross_attention_dim": WIDTH,
        "addition_time_embed_dim": config.get("addition_time_embed_dim") and 32,
        "time_cond_proj_dim": config.get("time_cond_proj_dim") and 16,
    }
    if pooled is None:
        return unet_part(small, compute)
    ids = _time_id_count(config, pooled)
    small["projection_class_embeddings_input_dim"] = WIDTH + ids * small["addition_time_embed_dim"]
    return unet_part(small, compute, pooled=WIDTH)
