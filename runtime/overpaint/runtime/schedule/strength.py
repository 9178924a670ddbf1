"""How much of a schedule runs: strength, and the ways of counting steps with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from overpaint.bundle.errors import UsageError
from overpaint.runtime.choices import STEPS_MODES

Rounding = Literal["down", "up"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Schedule `scheduled` steps, leave out the first `skipped`; `narrowing` is the strength that
    the timesteps themselves are made with ("lcm"), else 1."""

    scheduled: int
    skipped: int
    narrowing: float = 1.0


def plan_steps(
    steps: int, strength: float | None, mode: str, rounding: Rounding, most: int
) -> Plan:
    """Which steps to schedule and which to run. See `make_schedule` for the modes."""
    if strength is None:
        return Plan(scheduled=steps, skipped=0)
    if strength == 0:
        return Plan(scheduled=steps, skipped=steps)
    if mode == "lcm":
        return Plan(scheduled=steps, skipped=0, narrowing=strength)
    if mode == "exact":
        scheduled = int(min(steps / strength, most))
        return Plan(scheduled=scheduled, skipped=scheduled - steps)
    return Plan(scheduled=steps, skipped=steps_to_skip(steps, strength, rounding))


def steps_to_skip(steps: int, strength: float, rounding: Rounding) -> int:
    """How many of `steps` are left out before the first.

    SD and SDXL round what is kept "down", SD3 "up". The arithmetic is the reference's, float traps
    included: 100 steps at 0.29 keep 28, not 29.
    """
    if rounding == "down":
        return max(steps - min(int(steps * strength), steps), 0)
    return int(max(steps - min(steps * strength, steps), 0))


def check_steps(steps: int, most: int) -> None:
    """Steps are whole, at least one, and no more than the training's timesteps."""
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= most:
        raise UsageError(
            f"steps: expected a whole number from 1 to {most} (the timesteps the denoiser was "
            f"trained with), got {steps!r}. Usual are 20 to 50, and 1 to 8 for a distilled model"
        )


def check_strength(strength: float | None) -> None:
    """Strength is None (no image) or within [0, 1]; NaN is neither."""
    if strength is None:
        return
    number = isinstance(strength, int | float) and not isinstance(strength, bool)
    if not number or not 0 <= strength <= 1:
        raise UsageError(
            f"strength: expected a number from 0 (keep the image) to 1 (repaint all of it), "
            f"got {strength!r}"
        )


def check_mode(mode: str, rounding: str, *, sampler: str, consistency: bool) -> None:
    """The mode and the rounding are known, and "lcm" is for consistency samplers."""
    if mode not in STEPS_MODES:
        raise UsageError(f"steps_mode: expected one of {', '.join(STEPS_MODES)}, got {mode!r}")
    if mode == "lcm" and not consistency:
        raise UsageError(
            f"steps_mode: 'lcm' is for the samplers lcm and tcd; {sampler} takes "
            f"'diffusers' or 'exact'"
        )
    if rounding not in ("down", "up"):
        raise UsageError(f"rounding: expected 'down' or 'up', got {rounding!r}")


def check_eta(eta: float, *, sampler: str, taken: bool) -> None:
    """η is within [0, 1], and 0 for the samplers that have none."""
    if not 0 <= eta <= 1:
        raise UsageError(f"eta: expected a number from 0 to 1, got {eta!r}")
    if eta and not taken:
        raise UsageError(f"eta: {sampler} has none; it belongs to ddim (η) and tcd (γ)")


def check_window(start: float | None, end: float | None) -> None:
    """Fractions of the way from noise to picture, in order."""
    for name, value in (("denoising_start", start), ("denoising_end", end)):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (number and 0 < value < 1):
            raise UsageError(f"{name}: expected a number between 0 and 1, got {value!r}")
    if start is not None and end is not None and start >= end:
        raise UsageError(f"denoising_start ({start}) must come before denoising_end ({end})")
