"""diffusers' ZImageTransformer2DModel -> out_hidden_states, of latents as a VAE has them.

Its own forward takes lists, a picture and a caption each, and hides what makes the shorter ones as
long as the longest. Here captions have as many rows, whole groups of them, and nothing is hidden.
Its time runs from noise to picture, and so does what it predicts: the graph turns both round.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor

from overpaint.bundle.tensor import DType, Range
from overpaint.bundle.tensor import Tensor as Declared
from overpaint.export.part import (
    BATCH,
    LATENT_SIDE,
    Config,
    Part,
    Wrapper,
    float32,
    latent_ranges,
)

from .rotary_attention import Turns, attend, grid, turned, turns_at
from .small import WIDTH

PATCH: Final = 2
GROUP: Final = 32
"""Tokens of a picture, and of a caption, are filled up to a multiple of so many."""
_TRAINED = 1000.0
_LONGEST = 512
_EMBEDDER = f"{PATCH}-1"


class SingleStreamAttention:
    """An attention processor: the numbers are those of ZSingleStreamAttnProcessor."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        freqs_cis: Turns | None = None,
    ) -> Tensor:
        """`attention_mask` is None: nothing is hidden."""
        assert freqs_cis is not None
        query, key, value = (
            linear(hidden_states).reshape(*hidden_states.shape[:2], attn.heads, -1)
            for linear in (attn.to_q, attn.to_k, attn.to_v)
        )
        query = turned(attn.norm_q(query), freqs_cis)
        key = turned(attn.norm_k(key), freqs_cis)
        out: Tensor = attn.to_out[0](attend(query, key, value))
        return out


class SingleStream(Wrapper):
    """diffusers' ZImageTransformer2DModel -> out_hidden_states."""

    rounded_later = frozenset({"timestep"})

    def __init__(self, net: Any, names: tuple[str, ...]) -> None:
        super().__init__(net, names)
        for block in (*net.noise_refiner, *net.context_refiner, *net.layers):
            block.attention.set_processor(SingleStreamAttention())

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        net, given = self.net, self.feed(tensors)
        latents, captions = given["hidden_states"], given["encoder_hidden_states"]
        rows, columns = (side // PATCH for side in latents.shape[2:])
        count, words = rows * columns, captions.shape[1]
        whole = (count + GROUP - 1) // GROUP * GROUP
        time = net.t_embedder((_TRAINED - given["timestep"]) * (net.t_scale / _TRAINED))
        time = time.to(latents.dtype)

        patches = net.all_x_embedder[_EMBEDDER](_patches(latents, rows, columns))
        filling = net.x_pad_token[None].expand(patches.shape[0], GROUP, -1)
        image = torch.cat((patches, filling), dim=1)[:, :whole]
        place = torch.arange(words, device=latents.device)
        own = (place[None] < given["caption_length"][:, None])[..., None]
        text = torch.where(own, net.cap_embedder(captions), net.cap_pad_token)

        places = (_image_places(words, rows, columns, latents.device)[:whole], _text_places(place))
        theta, sizes = net.rope_theta, net.axes_dims
        image_turns, text_turns = (turns_at(each, sizes, theta) for each in places)
        for block in net.noise_refiner:
            image = block(image, None, image_turns, time)
        for block in net.context_refiner:
            text = block(text, None, text_turns)
        both = torch.cat((image, text), dim=1)
        all_turns = turns_at(torch.cat(places), sizes, theta)
        for block in net.layers:
            both = block(both, None, all_turns, time)
        out = net.all_final_layer[_EMBEDDER](both[:, :count], c=time)
        return (-_put_together(out, rows, columns).float(),)


def _image_places(words: int, rows: int, columns: int, device: Any) -> Tensor:
    """The patch of row r and column c is at (behind the caption, r, c), and `GROUP` more tokens at
    (0, 0, 0): (tokens, 3)."""
    row, column = grid(rows, columns, device)
    behind = torch.arange(words + 1, words + 2, device=device).expand(rows * columns)
    patches = torch.stack((behind, row, column), dim=-1).float()
    return torch.cat((patches, torch.zeros(GROUP, 3, device=device)))


def _text_places(place: Tensor) -> Tensor:
    """Token t is at (t + 1, 0, 0), also where it only fills a group: (tokens, 3)."""
    nowhere = torch.zeros_like(place)
    return torch.stack((place + 1, nowhere, nowhere), dim=-1).float()


def _patches(latents: Tensor, rows: int, columns: int) -> Tensor:
    """(batch, channels, h, w) -> (batch, tokens, 4 * channels)."""
    channels = latents.shape[1]
    apart = latents.reshape(-1, channels, rows, PATCH, columns, PATCH)
    return apart.permute(0, 2, 4, 3, 5, 1).reshape(-1, rows * columns, PATCH**2 * channels)


def _put_together(tokens: Tensor, rows: int, columns: int) -> Tensor:
    channels = tokens.shape[2] // PATCH**2
    apart = tokens.reshape(-1, rows, columns, PATCH, PATCH, channels)
    return apart.permute(0, 5, 1, 3, 2, 4).reshape(-1, channels, PATCH * rows, PATCH * columns)


def single_stream_part(config: Config, compute: DType) -> Part:
    """ZImageTransformer2DModel of Z-Image and Z-Image-Turbo."""
    latents = ("batch", config["in_channels"], "latent_height", "latent_width")
    captions = Range(minimum=GROUP, maximum=_LONGEST, multiple=GROUP)
    return Part(
        component="transformer",
        source="transformer",
        class_name="ZImageTransformer2DModel",
        config=config,
        inputs=(
            float32("hidden_states", *latents),
            float32("encoder_hidden_states", "batch", "tokens", config["cap_feat_dim"]),
            Declared(name="caption_length", dtype="int64", shape=("batch",)),
            float32("timestep", "batch"),
        ),
        outputs=(float32("out_hidden_states", *latents),),
        ranges={"batch": BATCH, "tokens": captions, **latent_ranges(LATENT_SIDE, PATCH)},
        compute=compute,
        wrapper=SingleStream,
        reduced=lambda: single_stream_part(_smaller(config), compute),
    )


def _smaller(config: Config) -> Config:
    return {
        **config,
        "dim": WIDTH,
        "n_heads": 2,
        "n_kv_heads": 2,
        "n_layers": 2,
        "n_refiner_layers": 1,
        "cap_feat_dim": WIDTH,
        "axes_dims": [8, 12, 12],
    }
