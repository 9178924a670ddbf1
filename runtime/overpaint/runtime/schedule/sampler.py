"""What a sampler is: a name, a vocabulary, noise levels, and a function that fills the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .levels import Levels, Request
from .options import Options
from .prediction import x0_from
from .table import Row
from .training import Training


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a sampler's function sees. Steps before `start` have been cut off by strength; `eta` is
    DDIM's η and TCD's γ."""

    options: Options
    training: Training
    levels: Levels
    start: int = 0
    eta: float = 0.0

    @property
    def steps(self) -> range:
        """The steps to fill in, by position in the full schedule."""
        return range(self.start, len(self.levels))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampler:
    """A sampler. `fields` are those of the diffusers class `scheduler`, at that class's defaults;
    `implies` is what the name says about them, whatever the config wrote (not so for "default");
    `always` is set for both.

    `finite`: σ must stay below infinity at zero terminal SNR. `check` refuses by name what the
    vocabulary can say and this sampler cannot do. `repeats_second`: the second timestep comes
    twice.
    """

    name: str
    scheduler: str
    fields: Mapping[str, Any]
    levels: Callable[[Options, Training, Request], Levels]
    rows: Callable[[Run], list[Row]]
    implies: Mapping[str, Any] = field(default_factory=dict)
    always: Mapping[str, Any] = field(default_factory=dict)
    check: Callable[[Options], None] = lambda options: None
    rows_per_step: int = 1
    takes_eta: bool = False
    finite: bool = False
    repeats_second: bool = False


TRAINED = {
    "num_train_timesteps": 1000,
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "trained_betas": None,
    "prediction_type": "epsilon",
}
TRAINED_SCALED = TRAINED | {"beta_start": 0.00085, "beta_end": 0.012}
LINSPACE = {"timestep_spacing": "linspace", "steps_offset": 0}
LEADING = {"timestep_spacing": "leading", "steps_offset": 0}
CURVES = {
    "use_karras_sigmas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "sigma_min": None,
    "sigma_max": None,
}
CLIPS = {"clip_sample": False, "clip_sample_range": 1.0}
THRESHOLDS = {"thresholding": False, "dynamic_thresholding_ratio": 0.995, "sample_max_value": 1.0}


def x0_row(
    run: Run, i: int, *, a: float, b: tuple[float, ...], c: tuple[float, ...] = (),
    draws: bool = False, unclipped: float = 0.0,
) -> Row:  # fmt: skip
    """The row of step i where h is the predicted x₀."""
    at = run.levels
    p, q = x0_from(run.options.prediction_type, float(at.alpha[i]), float(at.sigma[i]))
    return Row(
        timestep=float(at.timesteps[i]),
        alpha=float(at.alpha[i]),
        sigma=float(at.sigma[i]),
        scale_in=float(at.scale[i]),
        p=p,
        q=q,
        a=float(a),
        b=tuple(map(float, b)),
        c=tuple(map(float, c)),
        draws=draws,
        unclipped=float(unclipped),
    )
