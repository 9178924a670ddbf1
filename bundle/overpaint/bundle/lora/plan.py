"""Which weights of which component a list of LoRAs changes. Nothing is left out in silence."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from overpaint.bundle import layout
from overpaint.bundle.checkpoint.source import Source
from overpaint.bundle.families.family import Family

from .file import DENOISER, LoraChoice, Update, read_lora, refuse_keys
from .targets import lora_targets


class Change(NamedTuple):
    """One update of one weight, at a strength; `source`: which of the update's rows it takes."""

    update: Update
    source: Source
    strength: float


Plan = dict[str, dict[str, list[Change]]]
"""component -> weight -> its changes, in the order in which they are to be made."""


def plan_loras(
    family: Family, weights: Mapping[str, Collection[str]], loras: Sequence[LoraChoice]
) -> Plan:
    """What fusing `loras`, one after the other, changes. `weights`: each component's weight names.

    Raises:
        CheckpointError: a file is not a LoRA, or holds keys that match no weight: they are listed.
    """
    targets = {
        component: lora_targets(family, component, names) for component, names in weights.items()
    }
    plan: Plan = {}
    for lora in loras:
        unmatched = []
        for update in read_lora(lora.path):
            component = _component(family, update.component)
            found = targets.get(component, {}).get(update.module, ())
            if not found:
                unmatched.append(update.key)
            for weight, source in found:
                change = Change(update, source, lora.weight)
                plan.setdefault(component, {}).setdefault(weight, []).append(change)
        if unmatched:
            refuse_keys(lora.path, unmatched, "that match nothing in this model")
    return plan


def _component(family: Family, called: str) -> str:
    """The bundle's component that a LoRA calls so. kohya's scripts count T5 third, wherever a
    family has it."""
    if called == DENOISER:
        return family.denoiser.component
    own = [encoder.component for encoder in family.encoders]
    if called == layout.TEXT_ENCODERS[2] and called not in own:
        return next((one.component for one in family.encoders if one.kind == "t5"), called)
    return called
