"""The words that a run's options choose from, for whoever offers them and whoever acts on them.

Samplers are not here: they are found, one module each.
"""

from __future__ import annotations

from typing import Final

STEPS_MODES: Final = ("diffusers", "exact", "lcm")
SIGMAS: Final = ("default", "karras", "exponential", "beta")
RNGS: Final = ("torch", "numpy")
VAES: Final = ("own", "tiny")
LATENTS: Final = "latents"
RESIZE_MODES: Final = ("stretch", "crop", "pad", LATENTS)
COLOURS: Final = ("mean", "histogram")
MASK_FILLS: Final = ("original", "blur", "noise", "nothing")
MASK_MODES: Final = ("hard", "soft")
MASK_CELLS: Final = ("any", "nearest", "middle")
