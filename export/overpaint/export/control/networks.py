"""diffusers' ControlNets as two graphs: picture -> hint, once a run; and hint -> residuals.

The first layers see nothing but the picture, at its full size: apart, they are run once instead of
twice in every step.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from torch import Tensor, nn

from overpaint.bundle import layout
from overpaint.bundle.control.residuals import PATCHES, level_ranges, level_sides, unet_residuals
from overpaint.bundle.errors import CheckpointError
from overpaint.bundle.tensor import DType, Range
from overpaint.export.networks.joint_attention import JointAttention
from overpaint.export.networks.mmdit import _smaller as _smaller_mmdit
from overpaint.export.networks.unet import unet_part
from overpaint.export.part import (
    BATCH,
    CONTEXT,
    LATENT_SIDE,
    Config,
    Part,
    Wrapper,
    float32,
    latent_ranges,
)

UNET: Final = "ControlNetModel"
UNION: Final = "ControlNetUnionModel"
MMDIT: Final = "SD3ControlNetModel"
CLASSES: Final = (UNET, UNION, MMDIT)
_SOURCE: Final = "controlnet"


class Hint(Wrapper):
    """What a UNet's control network makes of the picture: (B,3,H,W) in [0,1] -> (B,C,h,w)."""

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        picture = self.feed(tensors)["picture"]
        if self.net.config.controlnet_conditioning_channel_order == "bgr":
            picture = picture.flip(1)
        return (self.net.controlnet_cond_embedding(picture).float(),)


class Residuals(Wrapper):
    """A UNet's control network behind its hint: one residual a skip, and the middle's."""

    rounded_later = frozenset({"timestep", "time_ids", "text_embeds"})

    def __init__(self, net: Any, names: tuple[str, ...]) -> None:
        super().__init__(net, names)
        self.net.controlnet_cond_embedding = nn.Identity()
        # The hint has its channels turned already, and the mean is taken of residuals outside.
        self.net.register_to_config(
            controlnet_conditioning_channel_order="rgb", global_pool_conditions=False
        )

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        feed = self.feed(tensors)
        skips, middle = self.net(**_read(feed), controlnet_cond=feed["hint"], return_dict=False)
        return (*(skip.float() for skip in skips), middle.float())


class UnionResiduals(Wrapper):
    """The same of a union network, which is told what kind of picture it sees."""

    rounded_later = frozenset({"timestep", "time_ids", "text_embeds", "control_type"})

    def __init__(self, net: Any, names: tuple[str, ...]) -> None:
        super().__init__(net, names)
        self.net.controlnet_cond_embedding = nn.Identity()
        self.net.register_to_config(global_pool_conditions=False)
        self.task_embedding = self.net.task_embedding
        del self.net.task_embedding
        for layer in self.net.transformer_layes:
            layer.forward = _Alone(layer)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        feed = self.feed(tensors)
        kinds = feed["control_type"]
        self.net.task_embedding = (kinds.to(self.task_embedding.dtype) @ self.task_embedding)[None]
        try:
            skips, middle = self.net(
                **_read(feed),
                controlnet_cond=[feed["hint"]],
                control_type=kinds,
                control_type_idx=[0],
                conditioning_scale=1.0,
                return_dict=False,
            )
        finally:
            del self.net.task_embedding
        return (*(skip.float() for skip in skips), middle.float())


class _Alone:
    """A layer of a union network, each token by itself. The published networks attend over the
    images of a batch, which are alike in all that they were trained and run for: attending to
    oneself is the same, and no picture depends on its neighbours."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def __call__(self, x: Tensor) -> Tensor:
        layer = self.layer
        value = layer.ln_1(x)
        width = value.shape[-1]
        weight, bias = layer.attn.in_proj_weight, layer.attn.in_proj_bias
        value = nn.functional.linear(value, weight[2 * width :], bias[2 * width :])
        x = x + layer.attn.out_proj(value)
        attended: Tensor = x + layer.mlp(layer.ln_2(x))
        return attended


class TransformerResiduals(Wrapper):
    """diffusers' SD3ControlNetModel -> one residual a block, (B,tokens,width)."""

    rounded_later = frozenset({"timestep"})

    def __init__(self, net: Any, names: tuple[str, ...]) -> None:
        super().__init__(net, names)
        for block in self.net.transformer_blocks:
            for attention in (block.attn, getattr(block, "attn2", None)):
                if attention is not None:
                    attention.set_processor(JointAttention())

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        feed = self.feed(tensors)
        [residuals] = self.net(
            feed["hidden_states"],
            feed["hint"],
            encoder_hidden_states=feed.get("encoder_hidden_states"),
            pooled_projections=feed["pooled_projections"],
            timestep=feed["timestep"],
            return_dict=False,
        )
        return tuple(residual.float() for residual in residuals)


def parts_of(config: Config, compute: DType) -> list[Part]:
    """The graphs of a control network, by its config.json.

    Raises:
        CheckpointError: it is of no class that is known here.
    """
    made = config.get("_class_name")
    if made == MMDIT:
        return [_transformer_part(config, compute)]
    if made not in CLASSES:
        raise CheckpointError(f"a control network is one of {', '.join(CLASSES)}, and this {made}")
    if config.get("class_embed_type") or config.get("num_class_embeds"):
        raise CheckpointError("control networks with class embeddings are not known here")
    return [_hint_part(config, compute), _residuals_part(config, compute)]


def _read(feed: dict[str, Tensor]) -> dict[str, Any]:
    """What a UNet's control network reads as the UNet does."""
    added = {name: feed[name] for name in ("text_embeds", "time_ids") if name in feed}
    return {
        "sample": feed["sample"],
        "timestep": feed["timestep"],
        "encoder_hidden_states": feed["encoder_hidden_states"],
        "timestep_cond": feed.get("timestep_cond"),
        "added_cond_kwargs": added or None,
    }


def _hint_part(config: Config, compute: DType) -> Part:
    cell = 2 ** (len(config["conditioning_embedding_out_channels"]) - 1)
    pixels = Range(minimum=cell, maximum=LATENT_SIDE * cell, multiple=cell)
    channels, width = config["conditioning_channels"], config["block_out_channels"][0]
    return Part(
        component=layout.HINT,
        source=_SOURCE,
        class_name=config["_class_name"],
        config=config,
        inputs=(float32("picture", "batch", channels, "height", "width"),),
        outputs=(float32("hint", "batch", width, *level_sides(0)),),
        ranges={"batch": BATCH, "height": pixels, "width": pixels, **latent_ranges()},
        compute=compute,
        wrapper=Hint,
        reduced=lambda: _hint_part(_smaller(config, compute), compute),
    )


def _residuals_part(config: Config, compute: DType) -> Part:
    union = config["_class_name"] == UNION
    like = unet_part({**config, "out_channels": 4}, compute, _pooled(config))
    hint = float32("hint", "batch", config["block_out_channels"][0], *level_sides(0))
    inputs = (*like.inputs, hint)
    if union:
        inputs += (float32("control_type", "batch", config["num_control_type"]),)
    sides = latent_ranges()
    sides |= level_ranges(sides, len(config["block_out_channels"]))
    return replace(
        like,
        component=layout.CONTROLNET,
        source=_SOURCE,
        class_name=config["_class_name"],
        config=config,
        inputs=inputs,
        outputs=tuple(float32(*one) for one in _named(dict(unet_residuals(config)))),
        ranges={"batch": BATCH, "tokens": CONTEXT, **sides},
        wrapper=UnionResiduals if union else Residuals,
        reduced=lambda: _residuals_part(_smaller(config, compute), compute),
    )


def _named(shapes: dict[str, tuple[int | str, ...]]) -> list[tuple[Any, ...]]:
    return [(name, *shape) for name, shape in shapes.items()]


def _pooled(config: Config) -> int | None:
    """How wide the pooled text is, which the config has only beside the time ids: a base's six."""
    if config.get("addition_embed_type") != "text_time":
        return None
    return int(config["projection_class_embeddings_input_dim"]) - 6 * int(
        config["addition_time_embed_dim"]
    )


def _smaller(config: Config, compute: DType) -> Config:
    """The same network, narrow and shallow, as a UNet's part is reduced."""
    pooled = _pooled(config)
    small = unet_part({**config, "out_channels": 4}, compute, pooled).reduced().config
    levels = len(config["conditioning_embedding_out_channels"])
    small = {**small, "conditioning_embedding_out_channels": (16, 32, 32, 64)[:levels]}
    if config["_class_name"] == UNION:
        width = small["block_out_channels"][0]
        small |= {"num_trans_channel": width, "num_trans_head": 4, "num_proj_channel": width}
    return {key: value for key, value in small.items() if key != "out_channels"}


def _transformer_part(config: Config, compute: DType) -> Part:
    if config.get("use_pos_embed") is False:
        raise CheckpointError(
            "this ControlNet has no position embedding of its own (Stable Diffusion 3.5 Large's "
            "8b ones); it cannot run beside the denoiser, only inside of it"
        )
    patch, channels = config["patch_size"], config["in_channels"]
    side = min(LATENT_SIDE, config["pos_embed_max_size"] * patch)
    width = config["num_attention_heads"] * config["attention_head_dim"]
    latents = (*level_sides(0),)
    seen = channels + config.get("extra_conditioning_channels", 0)
    return Part(
        component=layout.CONTROLNET,
        source=_SOURCE,
        class_name=MMDIT,
        config=config,
        inputs=(
            float32("hidden_states", "batch", channels, *latents),
            float32("encoder_hidden_states", "batch", "tokens", config["joint_attention_dim"]),
            float32("pooled_projections", "batch", config["pooled_projection_dim"]),
            float32("timestep", "batch"),
            float32("hint", "batch", seen, *latents),
        ),
        outputs=tuple(
            float32(f"{layout.RESIDUAL}{block}", "batch", PATCHES, width)
            for block in range(config["num_layers"])
        ),
        ranges={
            "batch": BATCH,
            "tokens": CONTEXT,
            PATCHES: Range(minimum=1, maximum=(side // patch) ** 2),
            **latent_ranges(side, patch),
        },
        compute=compute,
        wrapper=TransformerResiduals,
        reduced=lambda: _transformer_part(
            {**_smaller_mmdit(config), "pos_embed_max_size": 24}, compute
        ),
    )
