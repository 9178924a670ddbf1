"""What a caller asked for, and what will be run: two types, and the rules between them.

    explicit value > preset > mode > the bundle's own defaults

Command line, Python and server share these, so a mode means the same everywhere.
"""

from __future__ import annotations

import difflib
import math
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from overpaint.bundle.errors import UsageError
from overpaint.bundle.facts import Defaults
from overpaint.runtime.schedule.strength import check_window

from .image import RESIZE_MODES
from .noise import RNGS
from .schedule import SAMPLERS, SIGMAS, STEPS_MODES

Mode = Literal["modify", "copy"]
Preset = Literal["fast", "high"]

MAX_SEED: Final = 2**64 - 1
COPY_STRENGTH: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundled:
    """Values that a mode or a preset brings; None leaves the choice to the next in line."""

    strength: float | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    steps_mode: str | None = None


MODES: Final[dict[str, Bundled]] = {
    "modify": Bundled(strength=0.5, steps=25, guidance_scale=7.5),
    # Exact steps: 15 steps at strength 0.05 would round to no step at all the usual way.
    "copy": Bundled(strength=COPY_STRENGTH, steps=15, guidance_scale=1.0, steps_mode="exact"),
}
PRESETS: Final[dict[str, Bundled]] = {
    "fast": Bundled(steps=15, guidance_scale=7.0),
    "high": Bundled(steps=25, guidance_scale=7.5),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the caller asked for; None is "not said". Raises UsageError on a value out of range.

    strength: share of the schedule that is run, 0 (the picture as it is) to 1.
    reference_strength: the same seen from the picture: strength = 1 - reference_strength.
    mode: "modify" repaints, "copy" stays within strength 0.05 of the picture.
    preset: "fast" or "high" choose steps and guidance; copy mode ignores it, and says so.
    steps_mode: "diffusers" runs int(steps * strength) steps, "exact" runs `steps` of them.
    guidance_rescale: 0 to 1, how far the guided prediction's deviation is pulled back to that of
        the prompt's own: against washed-out pictures of v-prediction at zero terminal SNR.
    negative_prompt: None is an absent one, which is not the empty "".
    eta: 0 to 1, DDIM's η and TCD's γ: the share of fresh noise in each step.
    denoising_start, denoising_end: between 0 and 1, the part of the way from noise to picture that
        is run. With a start the picture counts as that far on its way: it gets no noise, and
        strength has no say. With an end the noise that is left is decoded too.
    seed: 0 to 2**64 - 1; absent, a random one. Image i of `n` uses seed + i.
    size: (width, height) in pixels; absent, the image's own, floored to the bundle's multiple.
    prompt_chunks: a prompt longer than the text encoder is chunked, not cut.
    max_sequence_length: 1 to 512, how many tokens SD 3's T5 reads; absent, the bundle's 256.
    prompt_weights: `(word:1.2)`, `[word]` and BREAK as AUTOMATIC1111's web UI reads them.
    """

    strength: float | None = None
    reference_strength: float | None = None
    mode: str | None = None
    preset: str | None = None
    steps: int | None = None
    steps_mode: str | None = None
    guidance_scale: float | None = None
    guidance_rescale: float = 0.0
    negative_prompt: str | None = None
    sampler: str | None = None
    sigmas: str | None = None
    eta: float = 0.0
    denoising_start: float | None = None
    denoising_end: float | None = None
    seed: int | None = None
    rng: str | None = None
    n: int = 1
    size: tuple[int, int] | None = None
    resize: str = "stretch"
    max_sequence_length: int | None = None
    prompt_chunks: bool = False
    prompt_weights: bool = False

    def __post_init__(self) -> None:
        _real("strength", self.strength, 0, 1)
        _real("reference_strength", self.reference_strength, 0, 1)
        _real("guidance_scale", self.guidance_scale, 0, math.inf)
        _real("guidance_rescale", self.guidance_rescale, 0, 1, none=False)
        _real("eta", self.eta, 0, 1, none=False)
        check_window(self.denoising_start, self.denoising_end)
        _whole("steps", self.steps, 1)
        _whole("seed", self.seed, 0, MAX_SEED)
        _whole("max_sequence_length", self.max_sequence_length, 1, 512)
        if self.n is None:
            raise UsageError("n: expected a whole number, got None")
        _whole("n", self.n, 1)
        _choice("mode", self.mode, MODES)
        _choice("preset", self.preset, PRESETS)
        _choice("steps_mode", self.steps_mode, STEPS_MODES)
        _choice("sampler", self.sampler, SAMPLERS)
        _choice("sigmas", self.sigmas, SIGMAS)
        _choice("rng", self.rng, RNGS)
        _choice("resize", self.resize, RESIZE_MODES)
        _flag("prompt_chunks", self.prompt_chunks)
        _flag("prompt_weights", self.prompt_weights)
        _size(self.size)
        if self.negative_prompt is not None and not isinstance(self.negative_prompt, str):
            raise UsageError(f"negative_prompt: expected text, got {self.negative_prompt!r}")
        if self.strength is not None and self.reference_strength is not None:
            raise UsageError(
                "strength and reference_strength say the same thing (strength = 1 - "
                "reference_strength); give one of them"
            )
        for name in ("strength", "reference_strength", "mode"):
            if self.denoising_start is not None and getattr(self, name) is not None:
                raise UsageError(f"{name}: denoising_start says where to begin; give one of them")
        if self.mode == "copy" and self.strength is not None and self.strength > COPY_STRENGTH:
            raise UsageError(
                f"strength: copy mode keeps it at or below {COPY_STRENGTH}, got {self.strength}; "
                "leave the mode out to repaint more"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What will be run: every value decided. `strength` is None for text to image.

    `size` stays None until the picture is known, where the caller named none.
    """

    strength: float | None
    steps: int
    steps_mode: str
    guidance_scale: float
    guidance_rescale: float
    negative_prompt: str | None
    sampler: str
    sigmas: str
    eta: float
    denoising_start: float | None
    denoising_end: float | None
    seed: int
    rng: str
    n: int
    size: tuple[int, int] | None
    resize: str
    mode: str | None
    preset: str | None
    max_sequence_length: int | None
    prompt_chunks: bool
    prompt_weights: bool
    warnings: tuple[str, ...] = ()

    @property
    def seeds(self) -> tuple[int, ...]:
        """One a picture: seed, seed + 1, …"""
        return seeds(self.seed, self.n)


def seeds(first: int, n: int) -> tuple[int, ...]:
    """The seeds of n pictures: first, first + 1, …, and after the last there is 0 again."""
    return tuple((first + i) & MAX_SEED for i in range(n))


def random_seed() -> int:
    """A seed that is short enough to be typed again."""
    return secrets.randbelow(2**32)


def resolve(settings: Settings, defaults: Defaults, *, with_image: bool) -> Resolved:
    """Decide what `settings` leaves open. `with_image` is False for text to image."""
    if not with_image:
        check_text_to_image(settings)
    mode = MODES.get(settings.mode or "", Bundled())
    preset = PRESETS.get(settings.preset or "", Bundled())
    warnings: tuple[str, ...] = ()
    if settings.mode == "copy" and settings.preset is not None:
        preset, warnings = Bundled(), (f"preset {settings.preset} is ignored in copy mode",)
    return Resolved(
        strength=_strength(settings, mode, defaults) if with_image else None,
        steps=_first(settings.steps, preset.steps, mode.steps, defaults.steps),
        steps_mode=_first(settings.steps_mode, preset.steps_mode, mode.steps_mode, "diffusers"),
        guidance_scale=_first(
            settings.guidance_scale,
            preset.guidance_scale,
            mode.guidance_scale,
            defaults.guidance_scale,
        ),
        guidance_rescale=settings.guidance_rescale,
        negative_prompt=settings.negative_prompt,
        sampler=_first(settings.sampler, defaults.sampler),
        sigmas=_first(settings.sigmas, "default"),
        eta=settings.eta,
        denoising_start=settings.denoising_start,
        denoising_end=settings.denoising_end,
        seed=random_seed() if settings.seed is None else settings.seed,
        rng=_first(settings.rng, "torch"),
        n=settings.n,
        size=settings.size,
        resize=settings.resize,
        mode=settings.mode,
        preset=settings.preset,
        max_sequence_length=settings.max_sequence_length,
        prompt_chunks=settings.prompt_chunks,
        prompt_weights=settings.prompt_weights,
        warnings=warnings,
    )


def _strength(settings: Settings, mode: Bundled, defaults: Defaults) -> float:
    asked = settings.strength
    if settings.reference_strength is not None:
        # Rounded so that 1 - 0.7 is the 0.3 that was meant and not 0.30000000000000004.
        asked = round(1 - settings.reference_strength, 12)
        asked = min(asked, COPY_STRENGTH) if settings.mode == "copy" else asked
    return float(_first(asked, mode.strength, defaults.strength))


def check_text_to_image(settings: Settings) -> None:
    """Raise UsageError if `settings` speak of an image, or name no size."""
    for name in ("strength", "reference_strength", "mode", "denoising_start"):
        if getattr(settings, name) is not None:
            raise UsageError(f"{name} needs an image to start from; text to image has none")
    if settings.size is None:
        raise UsageError("size: text to image needs one, for example 512x512")


def _first(*candidates: Any) -> Any:
    return next(candidate for candidate in candidates if candidate is not None)


def _real(name: str, value: object, low: float, high: float, *, none: bool = True) -> None:
    if value is None and none:
        return
    span = f"from {low} to {high}" if high < math.inf else f"of {low} or more"
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not low <= float(value) <= high or math.isinf(float(value)):  # type: ignore[arg-type]
        raise UsageError(f"{name}: expected a number {span}, got {value!r}")


def _whole(name: str, value: object, low: int, high: int | None = None) -> None:
    if value is None:
        return
    span = f"from {low} to {high}" if high is not None else f"of {low} or more"
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):  # type: ignore[operator]
        raise UsageError(f"{name}: expected a whole number {span}, got {value!r}")


def _flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise UsageError(f"{name}: expected True or False, got {value!r}")


def _choice(name: str, value: object, choices: Iterable[str]) -> None:
    if value is None or value in (choices := tuple(choices)):
        return
    close = difflib.get_close_matches(str(value), choices, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"choose from {', '.join(choices)}"
    raise UsageError(f"{name}: unknown value {value!r}; {hint}")


def _size(size: object) -> None:
    if size is None:
        return
    pair = isinstance(size, tuple) and len(size) == 2
    if not pair or not all(type(side) is int and side > 0 for side in size):  # type: ignore[attr-defined]
        raise UsageError(f"size: expected (width, height) in pixels, got {size!r}")
