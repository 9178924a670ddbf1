"""What will be run: every value decided, by rules that command line, Python and server share.

explicit value > preset > mode > the bundle's own defaults
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any, Final

from overpaint.bundle.errors import UsageError
from overpaint.bundle.facts import Defaults

from .fidelity import LEVELS
from .settings import COPY_STRENGTH, MAX_SEED, MODES, PRESETS, Combination, Settings, options

HIRES_STRENGTH: Final = 0.4
"""Of text to image's second pass, where nothing says another."""
UPSCALE_STRENGTH: Final = 0.3
"""Of a picture that is enlarged, where nothing says another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What was asked for, and what was decided. `strength` is None for text to image."""

    settings: Settings
    strength: float | None
    steps: int
    steps_mode: str
    guidance_scale: float
    forecast: int
    guidance_start: float
    guidance_end: float
    adaptive_guidance: float | None
    sampler: str
    sigmas: str
    denoising_start: float | None
    denoising_end: float | None
    seed: int
    variation_seed: int | None
    rng: str
    warnings: tuple[str, ...] = ()

    @property
    def seeds(self) -> tuple[int, ...]:
        """One a picture: seed, seed + 1, …; the same for all where they are variations of it."""
        if self.settings.variation_strength:
            return (self.seed,) * self.settings.n
        return self.settings.seeds or seeds(self.seed, self.settings.n)

    @property
    def variation_seeds(self) -> tuple[int | None, ...]:
        """One a picture: variation_seed, variation_seed + 1, …; None where nothing is varied."""
        if self.variation_seed is None:
            return (None,) * self.settings.pictures
        return seeds(self.variation_seed, self.settings.n)

    def options(self) -> dict[str, Any]:
        """Every option of Settings by name, as it is run."""
        names = options(type(self.settings))
        return {
            name: getattr(self if name in self.__slots__ else self.settings, name) for name in names
        }


def seeds(first: int, n: int) -> tuple[int, ...]:
    """The seeds of n pictures: first, first + 1, …, and after the last there is 0 again."""
    return tuple((first + i) & MAX_SEED for i in range(n))


def first_seed(settings: Settings) -> int:
    """The first picture's: what is said, or a random one."""
    if settings.seeds is not None:
        return settings.seeds[0]
    return random_seed() if settings.seed is None else settings.seed


def variation_seed(settings: Settings, seed: int) -> int | None:
    """The first picture's, with `seed` for its own; None where nothing is varied."""
    if not settings.variation_strength:
        return None
    return seeds(seed, 2)[1] if settings.variation_seed is None else settings.variation_seed


def random_seed() -> int:
    """A seed that is short enough to be typed again."""
    return secrets.randbelow(2**32)


def resolve(settings: Settings, defaults: Defaults, *, with_image: bool) -> Resolved:
    """Decide what `settings` leaves open. `with_image` is False for text to image."""
    if not with_image:
        check_text_to_image(settings)
    mode = MODES.get(settings.mode or "", Combination())
    preset = PRESETS.get(settings.preset or "", Combination())
    warnings: tuple[str, ...] = ()
    if settings.mode == "copy" and settings.preset is not None:
        preset, warnings = Combination(), (f"preset {settings.preset} is ignored in copy mode",)

    def part(name: str) -> Any:
        """What was said of a part, or what the level brings."""
        said = getattr(settings, name)
        return getattr(LEVELS[settings.fidelity], name) if said is None else said

    if settings.preset is not None and defaults.distilled and preset != Combination():
        preset, warnings = Combination(), (_for_distilled(settings.preset, defaults),)

    def first(name: str, last: Any, *, distilled: bool = False) -> Any:
        """The first in line that says anything. `distilled`: modes have no say in it."""
        line = (settings,) if distilled else (settings, preset, mode)
        found = (getattr(one, name) for one in line)
        return next((value for value in found if value is not None), last)

    seed = first_seed(settings)
    return Resolved(
        settings=settings,
        strength=_strength(settings, mode, defaults) if with_image else None,
        steps=first("steps", defaults.steps, distilled=defaults.distilled),
        steps_mode=first("steps_mode", "diffusers"),
        guidance_scale=first(
            "guidance_scale", defaults.guidance_scale, distilled=defaults.distilled
        ),
        forecast=part("forecast"),
        guidance_start=part("guidance_start"),
        guidance_end=part("guidance_end"),
        adaptive_guidance=part("adaptive_guidance"),
        sampler=settings.sampler or defaults.sampler,
        sigmas=settings.sigmas or "default",
        denoising_start=settings.denoising_start,
        denoising_end=settings.denoising_end,
        seed=seed,
        variation_seed=variation_seed(settings, seed),
        rng=settings.rng or "torch",
        warnings=warnings,
    )


def check_text_to_image(settings: Settings) -> None:
    """Raise UsageError if `settings` speak of an image, or name no size."""
    for name in ("strength", "reference_strength", "mode", "denoising_start", "match_colour"):
        if getattr(settings, name) is not None:
            raise UsageError(f"{name} needs an image to start from; text to image has none")
    if settings.size is None:
        raise UsageError("size: text to image needs one, for example 512x512")


def _for_distilled(preset: str, defaults: Defaults) -> str:
    return (
        f"preset {preset} is ignored: this checkpoint was distilled for {defaults.steps} steps and "
        f"guidance_scale {defaults.guidance_scale:g}, which stay"
    )


def _strength(settings: Settings, mode: Combination, defaults: Defaults) -> float:
    if settings.strength is not None:
        return float(settings.strength)
    if settings.reference_strength is not None:
        # Rounded so that 1 - 0.7 is the 0.3 that was meant and not 0.30000000000000004.
        asked = round(1 - settings.reference_strength, 12)
        return min(asked, COPY_STRENGTH) if settings.mode == "copy" else asked
    if settings.upscale is not None and mode.strength is None:
        return UPSCALE_STRENGTH
    return float(defaults.strength if mode.strength is None else mode.strength)
