"""The fields that families read of a diffusers folder's configs, each with its type and range.

A config holds many more, which concern whoever builds the network and nobody here.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from overpaint.bundle.errors import CheckpointError, one_line
from overpaint.bundle.facts import Config
from overpaint.bundle.schema_errors import explain

Width = Annotated[int, Meta(ge=1, le=1 << 20)]
Levels = Annotated[list[Width], Meta(min_length=1, max_length=10)]
"""Of a network that halves its picture from each level to the next."""
Finite = Annotated[float, Meta(ge=-1e6, le=1e6)]


class VaeFields(msgspec.Struct, frozen=True):
    """An AutoencoderKL's."""

    block_out_channels: Levels
    latent_channels: Width
    scaling_factor: Annotated[float, Meta(gt=0, le=1e6)] = 0.18215
    shift_factor: Finite | None = None
    latents_mean: list[Finite] | None = None
    latents_std: list[Finite] | None = None


class DenoiserFields(msgspec.Struct, frozen=True):
    """A UNet's or a transformer's."""

    in_channels: Width | None = None
    patch_size: Annotated[int, Meta(ge=1, le=64)] = 1
    block_out_channels: Levels | None = None
    time_cond_proj_dim: Width | None = None
    joint_attention_dim: Width | None = None
    guidance_embeds: bool = False
    use_linear_projection: bool | None = None


class ClipFields(msgspec.Struct, frozen=True):
    """A text encoder's."""

    max_position_embeddings: Width = 77
    num_hidden_layers: Annotated[int, Meta(ge=1, le=1000)] | None = None


class IndexFields(msgspec.Struct, frozen=True):
    """A model_index.json's."""

    force_zeros_for_empty_prompt: bool = True
    requires_aesthetics_score: bool = False


Fields = TypeVar("Fields", bound=msgspec.Struct)


def read_fields(config: Config, fields: type[Fields], where: str) -> Fields:
    """What `config` says of `fields`.

    Raises:
        CheckpointError: a field is missing, of another type, or out of range.
    """
    try:
        return msgspec.convert(dict(config), fields)
    except msgspec.ValidationError as error:
        message = explain(dict(config), fields) or str(error)
        raise CheckpointError(one_line(f"{where}: {message}")) from None
