# ruff: noqa: T201
"""Host work per step, in µs: scale, guidance, advance and cast at 1x4x64x64, and larger latents.

    python bench/studies/host_step.py [--json]

Processor time of one thread; medians over rounds of a whole schedule, the denoiser replaced by
nothing. Drawing noise, where a sampler does, is measured on its own in the last rows.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from statistics import median
from time import thread_time

import numpy as np

from overpaint.runtime.choices import RNGS
from overpaint.runtime.denoiser.guidance import guide
from overpaint.runtime.noise import generator
from overpaint.runtime.schedule import (
    Schedule,
    advance,
    begin,
    make_schedule,
    model_input,
    read_scheduler_config,
)

SD = {
    "_class_name": "PNDMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "timestep_spacing": "leading",
}
SAMPLERS = (
    "euler", "ddim", "pndm", "dpmpp-2m", "dpmpp-3m", "unipc", "heun", "euler-a", "dpmpp-2m-sde",
    "ddpm", "dpmpp-sde", "lcm", "tcd",
)  # fmt: skip
SHAPES = ((1, 4, 64, 64), (1, 4, 128, 128), (1, 16, 128, 128))
BARS = {"euler": 30.0, "dpmpp-2m": 50.0}
STEPS, ROUNDS = 30, 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    as_json = parser.parse_args().json
    config = read_scheduler_config(SD)
    figures = {}
    for shape in SHAPES:
        name = "x".join(map(str, shape))
        figures[name] = {
            sampler: round(per_step(make_schedule(config, steps=STEPS, strength=1.0,
                                                  sampler=sampler), shape), 1)
            for sampler in SAMPLERS
        }  # fmt: skip
        for rng in RNGS:
            figures[name][f"noise, {rng}"] = round(per_draw(rng, shape), 1)
    if as_json:
        print(json.dumps({"unit": "us per row", "rows": figures}))
        return
    print(
        f"µs of one thread per row, guidance included, median of {ROUNDS} rounds of {STEPS} steps"
    )
    print(f"{'':14}" + "".join(f"{name:>14}" for name in figures))
    for sampler in figures["1x4x64x64"]:
        bar = f"   (bar at 1x4x64x64: {BARS[sampler]:g})" if sampler in BARS else ""
        print(f"{sampler:14}" + "".join(f"{one[sampler]:14.1f}" for one in figures.values()) + bar)


def per_step(schedule: Schedule, shape: tuple[int, ...]) -> float:
    """Median µs per row of everything but the denoiser and the drawing of noise."""
    round_of = prepared(schedule, shape)
    round_of()
    times = []
    for _ in range(ROUNDS):
        started = thread_time()
        round_of()
        times.append((thread_time() - started) / len(schedule.rows) * 1e6)
    return median(times)


def per_draw(rng: str, shape: tuple[int, ...]) -> float:
    """Median µs of one draw of noise."""
    source, out, times = generator(rng, 0), np.empty(shape, np.float32), []
    for _ in range(ROUNDS):
        started = thread_time()
        source.fill(out)
        times.append((thread_time() - started) * 1e6)
    return median(times)


def prepared(schedule: Schedule, shape: tuple[int, ...]) -> Callable[[], None]:
    """One whole schedule, as the loop runs it, with guidance's two branches."""
    source = np.random.default_rng(0)
    x = source.standard_normal(shape, np.float32)
    output = source.standard_normal((2, *shape), np.float32)
    branches, guided = np.empty((2, *shape), np.float32), np.empty(shape, np.float32)
    state = begin(schedule, x)

    def once() -> None:
        np.copyto(state.x, x)
        for row in schedule.rows:
            model_input(state.x, row, branches)
            guide(output[0], output[1], 7.5, guided)
            advance(state, row, guided, len)

    return once


if __name__ == "__main__":
    main()
