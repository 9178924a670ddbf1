"""What a control network is, by its config.json."""

from __future__ import annotations

from typing import Annotated, TypedDict

import msgspec
from msgspec import Meta

from overpaint.bundle.errors import CheckpointError
from overpaint.bundle.facts import Config
from overpaint.bundle.families import FAMILIES
from overpaint.bundle.families.config_fields import read_fields
from overpaint.bundle.families.family import Controlled

MMDIT = "SD3ControlNetModel"


class ControlFacts(TypedDict):
    """Fields of a ControlNet's manifest."""

    family: str
    types: int | None
    global_pool: bool
    zero_pooled: bool


class _Fields(msgspec.Struct, frozen=True):
    """Those that tell."""

    class_name: str = msgspec.field(name="_class_name", default="")
    addition_embed_type: str | None = None
    use_linear_projection: bool | None = None
    num_control_type: Annotated[int, Meta(ge=1, le=1000)] | None = None
    global_pool_conditions: bool = False
    force_zeros_for_pooled_projection: bool | None = None


def facts_of(config: Config, name: str) -> ControlFacts:
    """Read what a manifest needs from a control network's config; `name` is for messages.

    Raises:
        CheckpointError: a field is garbled.
    """
    fields = read_fields(config, _Fields, f"{name}: config.json")
    if not fields.class_name:
        raise CheckpointError(f"{name}: its config.json does not say of which class it is")
    mmdit = fields.class_name == MMDIT
    return ControlFacts(
        family=_family(fields, mmdit=mmdit),
        types=fields.num_control_type,
        global_pool=fields.global_pool_conditions,
        # The class's own default, of the first networks that were published.
        zero_pooled=mmdit and fields.force_zeros_for_pooled_projection is not False,
    )


def _family(fields: _Fields, *, mmdit: bool) -> str:
    text_time = not mmdit and fields.addition_embed_type == "text_time"
    linear = not mmdit and not text_time and bool(fields.use_linear_projection)
    told = Controlled(transformer=mmdit, text_time=text_time, linear=linear)
    return next(one.name for one in FAMILIES.values() if one.controlled == told)
