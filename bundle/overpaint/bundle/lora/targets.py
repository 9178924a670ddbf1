"""Which weights a LoRA's modules are: a component's own names, and those of its single file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from overpaint.bundle.checkpoint.source import Source, whole
from overpaint.bundle.families.family import Family


class Target(NamedTuple):
    """A weight, and which of the module's rows it is (all of them, or a part of a fused one)."""

    weight: str
    source: Source


_ALIASES: Final = {  # diffusers' first LoRAs named attention's processors, not its projections
    "_to_out_0": "_to_out",
    "_self_attn_q_proj": "_self_attn_to_q",
    "_self_attn_k_proj": "_self_attn_to_k",
    "_self_attn_v_proj": "_self_attn_to_v",
    "_self_attn_out_proj": "_self_attn_to_out",
}


def lora_targets(
    family: Family, component: str, weights: Iterable[str]
) -> dict[str, tuple[Target, ...]]:
    """The weights behind each module name (dots as underscores) that a LoRA may give.

    `component` is the bundle's: `unet`, `transformer`, `text_encoder`, …
    """
    names = [name for name in weights if name.endswith(".weight")]
    targets: dict[str, tuple[Target, ...]] = {}
    for name, source in _single_file(family, component, names):
        module = _flat(source.rows[0].name)
        targets[module] = (*targets.get(module, ()), Target(name, source))
    own = {
        spelling: (Target(name, whole(name)),)
        for name in names
        for spelling in _spellings(component, _flat(name))
    }
    return targets | own


def _flat(name: str) -> str:
    return name.removesuffix(".weight").replace(".", "_")


def _spellings(component: str, module: str) -> Iterator[str]:
    if component.startswith("text_encoder"):
        module = module.removeprefix("text_model_")
    for end, alias in {"": "", **_ALIASES}.items():
        if module.endswith(end):
            spelling = module.removesuffix(end) + alias
            yield spelling
            if component.startswith("text_encoder"):
                yield f"text_model_{spelling}"


def _single_file(family: Family, component: str, names: list[str]) -> Iterator[tuple[str, Source]]:
    """Where each of the denoiser's weights lies in a single file: LoRAs use those names too."""
    place = family.single_file.get(component)
    if component != family.denoiser.component or place is None:
        return
    find = place.naming(names)
    for name in names:
        source = find(name)
        if source is not None:
            yield name, source
