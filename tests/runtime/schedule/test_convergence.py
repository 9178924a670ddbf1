"""The error of each deterministic sampler falls at its order, on a model with a known answer.

The data are normal around μ with deviation s. Then E[x₀ | x] and the ODE's solution are closed
forms, for any x = α·x₀ + σ·ε. No comparison with another library could show this: two could share
one mistake.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from overpaint.runtime.schedule import Row, advance, begin, make_schedule, read_scheduler_config

MEAN, DEVIATION = 0.3, 0.7

STOP = 200
"""A timestep that all schedules of a number of steps dividing 200 visit."""

TRAINED = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SOLVER = {"final_sigmas_type": "sigma_min", "lower_order_final": False}
DPM: dict[str, Any] = {"_class_name": "DPMSolverMultistepScheduler", **TRAINED, **SOLVER}
UNIPC: dict[str, Any] = {"_class_name": "UniPCMultistepScheduler", **TRAINED, **SOLVER}
FLOW: dict[str, Any] = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}
LEADING: dict[str, Any] = {**TRAINED, "timestep_spacing": "leading", "steps_offset": 0}

CASES: dict[str, tuple[dict[str, Any], str, float]] = {
    "euler": ({"_class_name": "EulerDiscreteScheduler", **TRAINED}, "exponential", 1),
    "ddim": ({"_class_name": "DDIMScheduler", **LEADING}, "default", 1),
    "flow-euler": (FLOW, "default", 1),
    "heun": ({"_class_name": "HeunDiscreteScheduler", **TRAINED}, "exponential", 2),
    "pndm": ({"_class_name": "PNDMScheduler", **LEADING}, "default", 2),
    "dpmpp-2m midpoint": (DPM, "exponential", 2),
    "dpmpp-2m heun": ({**DPM, "solver_type": "heun"}, "exponential", 2),
    "dpm-solver-2": ({**DPM, "algorithm_type": "dpmsolver"}, "exponential", 2),
    # half of the third difference is in the published formula: docs/decisions/0003
    "dpmpp-3m": ({**DPM, "solver_order": 3}, "exponential", 2),
    "unipc-3": ({**UNIPC, "solver_order": 3}, "exponential", 3),
    "unipc-1": ({**UNIPC, "solver_order": 1}, "exponential", 2),
    "unipc-2": (UNIPC, "exponential", 3),
    "unipc-2 bh1": ({**UNIPC, "solver_type": "bh1"}, "exponential", 3),
    "unipc-2 of noise": ({**UNIPC, "predict_x0": False}, "exponential", 3),
}


def convention(row: Row, fields: dict[str, Any]) -> float:
    """α at a row's level."""
    if "Flow" in fields["_class_name"]:
        return 1 - row.sigma
    return 1.0 if row.scale_in != 1 else math.sqrt(1 - row.sigma**2)


def deviation(alpha: float, sigma: float) -> float:
    return math.sqrt((alpha * DEVIATION) ** 2 + sigma**2)


def error(fields: dict[str, Any], sigmas: str, steps: int) -> float:
    """Relative distance from the exact solution at the last level that the denoiser sees, the jump
    to σ = 0 left out: it is of first order in all of them."""
    config = read_scheduler_config(fields)
    schedule = make_schedule(config, steps=steps, strength=1.0, sigmas=sigmas)
    rows = schedule.rows
    stop = next((i for i, row in enumerate(rows) if row.timestep == STOP), len(rows) - 1)
    rows, end = rows[:stop], rows[stop]
    start = np.linspace(-2, 2, 5).reshape(1, 1, 1, 5)
    alpha = convention(rows[0], fields)
    state = begin(schedule, alpha * MEAN + deviation(alpha, rows[0].sigma) * start)
    for row in rows:
        alpha, sigma = convention(row, fields), row.sigma
        share = alpha * DEVIATION**2 / deviation(alpha, sigma) ** 2
        picture = MEAN + share * (state.x - alpha * MEAN)
        advance(state, row, output(row, fields, state.x, alpha, picture))
    alpha = convention(end, fields)
    exact = alpha * MEAN + deviation(alpha, end.sigma) * start
    return float(np.abs(state.x - exact).max() / np.abs(exact).max())


def output(
    row: Row, fields: dict[str, Any], x: np.ndarray, alpha: float, picture: np.ndarray
) -> np.ndarray:
    """What a denoiser that predicts noise (or flow) says where x₀ is `picture`."""
    noise = (x - alpha * picture) / row.sigma
    return noise - picture if "Flow" in fields["_class_name"] else noise


@pytest.mark.parametrize("case", CASES)
def test_the_error_falls_at_the_samplers_order(case: str) -> None:
    fields, sigmas, order = CASES[case]
    counts = (25, 50, 100) if sigmas == "default" and order < 3 else (40, 80, 160)
    errors = [error(fields, sigmas, steps) for steps in counts]
    measured = math.log2(errors[-2] / errors[-1])
    print(f"{case:20} order {order}: measured {measured:.2f}, errors {errors}")
    assert measured >= order - 0.25, errors


def test_a_higher_order_pays_at_twenty_steps() -> None:
    at_twenty = {case: error(CASES[case][0], "exponential", 20) for case in CASES if "m" in case
                 and CASES[case][1] == "exponential"}  # fmt: skip
    euler = error(CASES["euler"][0], "exponential", 20)
    assert all(value < euler / 4 for value in at_twenty.values())
    assert at_twenty["dpmpp-3m"] < at_twenty["dpmpp-2m midpoint"]
