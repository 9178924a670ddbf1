"""The `overpaint.json` of a control network: what it computes, and which denoisers it can control.

A network of this kind is no pipeline: it stands beside a bundle's denoiser, reads what that reads
and a picture besides, and gives what is added to the denoiser's skips (Zhang et al. 2023, "Adding
Conditional Control to Text-to-Image Diffusion Models"). docs/control.md has the fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from overpaint.bundle import layout
from overpaint.bundle.families import FAMILIES
from overpaint.bundle.record import Record

from .manifest import Component, File, Source

FORMAT: Final = "overpaint-controlnet"
VERSION: Final = 1


class ControlNet(Record, frozen=True, kw_only=True):
    """The manifest of a control network.

    family: whose denoisers it was trained beside. components: `controlnet`, called in each step;
    and `hint`, which turns the picture into what that reads, once a run: where there is none, the
    base's VAE does. types: how many kinds of picture a union network tells apart. global_pool: its
    residuals are averaged over the picture, and it sees the prompt's half of guidance alone.
    zero_pooled: it was trained without pooled text, and with latents that are not shifted.
    """

    format: Literal["overpaint-controlnet"] = "overpaint-controlnet"
    version: int = VERSION
    name: str
    family: str
    components: dict[str, Component]
    source: Source
    producers: dict[str, str]
    files: dict[str, File]
    types: int | None = None
    global_pool: bool = False
    zero_pooled: bool = False

    @property
    def residuals(self) -> tuple[str, ...]:
        """What it gives, by name, in the order of the denoiser's skips."""
        return tuple(one.name for one in self.components[layout.CONTROLNET].outputs)

    @property
    def sees_mask(self) -> bool:
        """Whether it is shown the picture that is repainted without its masked part, and the mask
        behind that: an inpainting network, of more channels than latents have."""
        inputs = self.components[layout.CONTROLNET].inputs
        latents, hint = inputs[0], next(one for one in inputs if one.name == layout.HINT)
        return layout.HINT not in self.components and hint.shape[1] != latents.shape[1]


def problems(manifest: ControlNet) -> Iterator[str]:
    """What contradicts itself, each as one line."""
    if manifest.family not in FAMILIES:
        yield f"family: expected one of {', '.join(FAMILIES)}, got {manifest.family!r}"
    if layout.CONTROLNET not in manifest.components:
        yield f"components.{layout.CONTROLNET}: missing"
        return
    for name, component in manifest.components.items():
        if name not in (layout.CONTROLNET, layout.HINT):
            yield f"components.{name}: expected {layout.CONTROLNET} and {layout.HINT} alone"
        if component.graph not in manifest.files:
            yield f"components.{name}.graph: {component.graph!r} is not listed in files"
    if not any(one.name == layout.HINT for one in manifest.components[layout.CONTROLNET].inputs):
        yield f"components.{layout.CONTROLNET}.inputs: {layout.HINT!r} is missing"
    for residual in manifest.residuals:
        if not residual.startswith(layout.RESIDUAL):
            yield f"components.{layout.CONTROLNET}.outputs: {residual!r} is no residual's name"
    if manifest.types is not None and manifest.types < 1:
        yield f"types: expected a positive number, got {manifest.types}"
