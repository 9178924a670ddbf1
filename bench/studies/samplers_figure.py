# ruff: noqa: T201
"""Draws docs/pictures/samplers.png: quality against denoiser calls, on a model with a known answer.

    python bench/studies/samplers_figure.py [--output docs/pictures/samplers.png]

The data are one number, drawn from three normals. E[x₀ | x] is then a closed form at any level, so
every sampler has an ideal denoiser, and the only error left is its own.

Karras sigmas where a sampler has them, else SD 1.5's own leading timesteps; flow-euler on SD3's
levels.

left   distance from the exact solution of the probability-flow ODE (deterministic samplers)
right  Wasserstein distance between 20,000 samples and the data (all of them)

LCM and TCD are missing: they are made for distilled networks, which say where the ODE ends and not
what to expect; given this denoiser they would be shown at what they are not for.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray

matplotlib.use("Agg")
from matplotlib import colormaps
from matplotlib import pyplot as plt

from overpaint.runtime.schedule import (
    Schedule,
    advance,
    begin,
    make_schedule,
    read_scheduler_config,
)

Floats = NDArray[np.floating[Any]]

WEIGHTS, MEANS, DEVIATIONS = np.array([[0.5, 0.3, 0.2], [-1.2, 0.4, 1.6], [0.15, 0.3, 0.1]])

SD: dict[str, Any] = {
    "_class_name": "PNDMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "timestep_spacing": "leading",
    "steps_offset": 1,
    "set_alpha_to_one": False,
}
FLOW: dict[str, Any] = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}

STEPS = (3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
DETERMINISTIC = ("euler", "heun", "ddim", "pndm", "dpmpp-2m", "dpmpp-3m", "unipc", "flow-euler")
STOCHASTIC = ("euler-a", "ddpm", "dpmpp-2m-sde", "dpmpp-3m-sde", "dpmpp-sde")
KARRAS = (
    "euler",
    "heun",
    "dpmpp-2m",
    "dpmpp-3m",
    "unipc",
    "dpmpp-2m-sde",
    "dpmpp-3m-sde",
    "dpmpp-sde",
)
SAMPLES = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--output", type=Path, default=Path("docs/pictures/samplers.png"))
    output = parser.parse_args().output
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
    names = DETERMINISTIC + STOCHASTIC
    colours = dict(zip(names, colormaps["tab20"](range(len(names))), strict=True))
    for sampler in names:
        schedules = [schedule_of(sampler, steps) for steps in STEPS]
        calls = [len(schedule.rows) for schedule in schedules]
        style = {"color": colours[sampler], "marker": ".", "label": sampler}
        if sampler in DETERMINISTIC:
            errors = [ode_error(schedule) for schedule in schedules]
            left.loglog(calls, errors, **style)
            print(f"{sampler:14} ODE error  " + "  ".join(f"{e:.1e}" for e in errors))
        distances = [distance(schedule) for schedule in schedules]
        right.loglog(calls, distances, linestyle="-" if sampler in DETERMINISTIC else "--", **style)
        print(f"{sampler:14} distance   " + "  ".join(f"{d:.1e}" for d in distances))
    right.axhline(floor(), color="grey", linewidth=0.8)
    right.text(STEPS[0], floor() * 1.05, "two samples of the data", color="grey", fontsize=8)
    left.set_title("distance from the exact ODE solution (root mean square)")
    right.set_title("Wasserstein distance of the samples from the data")
    for axes in (left, right):
        axes.set_xlabel("calls of the denoiser")
        axes.grid(alpha=0.3, which="both", linewidth=0.4)
        axes.legend(fontsize=8)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=110)
    print(f"wrote {output}")


def schedule_of(sampler: str, steps: int) -> Schedule:
    config = read_scheduler_config(FLOW if sampler == "flow-euler" else SD)
    sigmas = "karras" if sampler in KARRAS else "default"
    return make_schedule(config, steps=steps, strength=1.0, sampler=sampler, sigmas=sigmas)


def expected(x: Floats, alpha: float, sigma: float) -> Floats:
    """E[x₀ | α·x₀ + σ·ε = x] under the three normals."""
    variance = (alpha * DEVIATIONS) ** 2 + sigma**2
    offset = x[..., None] - alpha * MEANS
    logits = np.log(WEIGHTS) - offset**2 / (2 * variance) - np.log(variance) / 2
    share = np.exp(logits - logits.max(-1, keepdims=True))
    share /= share.sum(-1, keepdims=True)
    return np.asarray((share * (MEANS + alpha * DEVIATIONS**2 / variance * offset)).sum(-1))


def sample(schedule: Schedule, x: Floats, seed: int = 1) -> Floats:
    """x through the whole schedule, with the ideal denoiser."""
    state, source = begin(schedule, x), np.random.default_rng(seed)
    flow = schedule.sampler == "flow-euler"
    for row in schedule.rows:
        exploding = row.scale_in != 1
        alpha = 1 - row.sigma if flow else 1.0 if exploding else np.sqrt(1 - row.sigma**2)
        picture = expected(state.x, alpha, row.sigma)
        noise = (state.x - alpha * picture) / row.sigma
        output = noise - picture if flow else noise
        advance(state, row, output, lambda out: np.copyto(out, source.standard_normal(out.shape)))
    return state.x


def data(count: int, seed: int) -> Floats:
    source = np.random.default_rng(seed)
    component = source.choice(len(WEIGHTS), count, p=WEIGHTS)
    return np.asarray(MEANS[component] + DEVIATIONS[component] * source.standard_normal(count))


def noised(schedule: Schedule, count: int) -> Floats:
    """Exact samples of the level at which the schedule starts."""
    noise = np.random.default_rng(2).standard_normal(count)
    return schedule.signal * data(count, 3) + schedule.noise * noise


def ode_error(schedule: Schedule) -> float:
    x = noised(schedule, 1000)
    return float(np.sqrt(np.mean((sample(schedule, x) - solved(schedule, x)) ** 2)))


def solved(schedule: Schedule, x: Floats, steps: int = 500) -> Floats:
    """The ODE's solution by Heun's method on a fine grid, in variance-exploding terms."""
    alpha = max(schedule.signal, 1e-4)
    y, levels = x / alpha, np.geomspace(schedule.noise / alpha, 1e-4, steps)
    for sigma, after in pairwise(levels):
        slope = (y - expected(y, 1.0, sigma)) / sigma
        end = y + (after - sigma) * slope
        y = y + (after - sigma) * (slope + (end - expected(end, 1.0, after)) / after) / 2
    return expected(y, 1.0, levels[-1])


def distance(schedule: Schedule) -> float:
    return wasserstein(sample(schedule, noised(schedule, SAMPLES)), data(SAMPLES, 4))


def floor() -> float:
    """What chance alone makes of it."""
    return wasserstein(data(SAMPLES, 5), data(SAMPLES, 4))


def wasserstein(one: Floats, other: Floats) -> float:
    return float(np.abs(np.sort(one) - np.sort(other)).mean())


if __name__ == "__main__":
    main()
