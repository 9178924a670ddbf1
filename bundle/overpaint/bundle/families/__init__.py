"""One module a family. A module that defines FAMILY is found; the others are recipes they share.

Plain dictionaries in (the JSON of a diffusers folder), parts of a manifest out, no torch: export,
import and the opening of optimum's folders all ask here.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Final

import msgspec

from overpaint.bundle import layout
from overpaint.bundle.errors import CheckpointError, one_line
from overpaint.bundle.facts import Components, Config, Configs, Defaults, Facts, Latents, Prediction

from .config_fields import DenoiserFields, read_fields
from .family import Family

GUIDANCE_EMBEDDED: Final = Defaults(steps=4, guidance_scale=8.5, strength=0.8, distilled=True)
"""Of latent consistency models, whatever the family."""

INPAINTING_STRENGTH: Final = 1.0
"""Of inpainting checkpoints, which see the picture beside the noise and were trained to fill the
mask from nothing."""


def find() -> dict[str, Family]:
    """The families by name, from the modules that lie in this package."""
    names = sorted(found.name for found in iter_modules(__path__))
    modules = [import_module(f"{__name__}.{name}") for name in names]
    families = [module.FAMILY for module in modules if hasattr(module, "FAMILY")]
    return {family.name: family for family in families}


FAMILIES: Final[dict[str, Family]] = find()
"""Families by the name that manifests give."""


def facts_of(configs: Configs, name: str = "checkpoint") -> Facts:
    """Read what a manifest needs from a checkpoint's configs.

    `name` is the checkpoint's: that it is distilled for few steps stands in no config, only there.

    Raises:
        CheckpointError: the family is unknown, or a config lacks or garbles what is needed.
    """
    family = family_of(configs.components, name)
    denoiser = configs.components[family.denoiser.component]
    if "vae" not in configs.components:
        raise CheckpointError(f"{name}: its VAE's config is missing")
    try:
        fields = read_fields(denoiser, DenoiserFields, "the denoiser's config")
        latents = family.latents(configs.components["vae"], denoiser)
        return Facts(
            family=family.name,
            denoiser=family.denoiser.component,
            latents=latents,
            prediction=_prediction(configs.scheduler, family),
            text=family.text(configs),
            defaults=_defaults(configs, latents, family, name),
            guidance_embedding_width=fields.time_cond_proj_dim,
        )
    except CheckpointError as error:
        raise CheckpointError(f"{name}: {error}") from None


def family_of(components: Components, name: str = "checkpoint") -> Family:
    """Tell the family by the checkpoint's components and what their configs hold.

    Raises:
        CheckpointError: it is none of those that overpaint runs.
    """
    for family in FAMILIES.values():
        if family.recognises(components):
            return family
    known = ", ".join(family.title for family in FAMILIES.values())
    found = ", ".join(components) or "none"
    raise CheckpointError(f"{name}: its components ({found}) are not those of {known}")


def _prediction(scheduler: Config, family: Family) -> Prediction:
    if len(family.predictions) == 1:
        return family.predictions[0]
    configured = scheduler.get("prediction_type", family.predictions[0])
    for prediction in family.predictions:
        if configured == prediction:
            return prediction
    raise CheckpointError(
        f"{layout.SCHEDULER_CONFIG}: prediction_type: expected one of "
        f"{', '.join(family.predictions)}, got {one_line(repr(configured))}"
    )


def _defaults(configs: Configs, latents: Latents, family: Family, name: str) -> Defaults:
    denoiser = configs.components[family.denoiser.component]
    fields = read_fields(denoiser, DenoiserFields, "the denoiser's config")
    if fields.time_cond_proj_dim:
        return GUIDANCE_EMBEDDED
    usual = family.turbo if family.is_turbo(configs, name) else family.defaults
    if fields.in_channels == latents.inpainting_channels:
        return msgspec.structs.replace(usual, strength=INPAINTING_STRENGTH)
    return usual
