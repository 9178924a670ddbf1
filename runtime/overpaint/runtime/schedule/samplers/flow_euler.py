"""Euler on rectified flow, the sampler of SD3."""

from __future__ import annotations

from overpaint.bundle.errors import UsageError
from overpaint.runtime.schedule.levels import flow
from overpaint.runtime.schedule.options import Options
from overpaint.runtime.schedule.sampler import CURVES, Run, Sampler, x0_row
from overpaint.runtime.schedule.table import Row


def flow_euler(run: Run) -> list[Row]:
    """x' = x + (σ'−σ)·m = (σ'/σ)·x + (1 − σ'/σ)·x₀. Order 1.

    Stochastic sampling noises x₀ afresh instead: x' = (1−σ')·x₀ + σ'·z.
    Esser et al. 2024, "Scaling Rectified Flow Transformers", section 2; Liu et al. 2023,
    "Flow Straight and Fast".
    """
    at = run.levels
    if run.options.stochastic_sampling:
        return [
            x0_row(run, i, a=0, b=(at.alpha_next[i],), c=(at.sigma_next[i],), draws=True)
            for i in run.steps
        ]
    ratio = at.sigma_next / at.sigma
    return [x0_row(run, i, a=ratio[i], b=(1 - ratio[i],)) for i in run.steps]


def _check(options: Options) -> None:
    if options.invert_sigmas:
        raise UsageError("invert_sigmas: true (time running from picture to noise) is unsupported")


SAMPLERS = (
    Sampler(
        name="flow-euler",
        scheduler="FlowMatchEulerDiscreteScheduler",
        fields=CURVES
        | {
            "num_train_timesteps": 1000,
            "shift": 1.0,
            "use_dynamic_shifting": False,
            "base_shift": 0.5,
            "max_shift": 1.15,
            "base_image_seq_len": 256,
            "max_image_seq_len": 4096,
            "invert_sigmas": False,
            "shift_terminal": None,
            "time_shift_type": "exponential",
            "stochastic_sampling": False,
        },
        always={"prediction_type": "flow_prediction"},
        levels=flow,
        rows=flow_euler,
        check=_check,
    ),
)
