"""One module per sampler (or family). A module that defines SAMPLERS is found; nothing else to do.

A sampler's function is short: it fills one row per call of the denoiser. Its docstring is the
formula and the paper.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from overpaint.runtime.schedule.sampler import Sampler

_FOUND: list[Sampler] = [
    sampler
    for module in sorted(iter_modules(__path__), key=lambda found: found.name)
    for sampler in import_module(f"{__name__}.{module.name}").SAMPLERS
]

REGISTRY: dict[str, Sampler] = {sampler.name: sampler for sampler in _FOUND}
"""Samplers by the name users give."""

SCHEDULERS: dict[str, Sampler] = {}
"""Samplers by the scheduler class whose config is theirs; the first of a family honours it all."""
for _sampler in _FOUND:
    SCHEDULERS.setdefault(_sampler.scheduler, _sampler)
