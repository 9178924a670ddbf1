"""Which forecast of the denoiser's output is nearest to it: ours, a plain line, the last output
again, Spectrum, EasyCache; on the embedded model's held-out scenes, in place of the same calls.

python bench/studies/forecasts.py bench/results/forecasts.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from fidelity import GUIDANCE, MOST_DB, painted

from overpaint.runtime import Img2Img, predicting
from overpaint.runtime.denoiser import Array, Denoiser
from overpaint.runtime.denoiser.forecast import forecast as ours
from overpaint.runtime.denoiser.forecast import noise_to_signal
from overpaint.runtime.image.compare import psnr
from overpaint.runtime.schedule import Row

Point: TypeAlias = tuple[float, Array]
Guess: TypeAlias = Callable[[list[Point], float], Array]
Forecast: TypeAlias = Callable[[Denoiser, Collection[int]], Denoiser]


def _by(guess: Guess, level: Callable[[Row], float] = noise_to_signal, kept: int = 2) -> Forecast:
    """A forecast that makes a `guess` of the last points, `kept` of them, at a row's level."""

    def forecast(denoiser: Denoiser, foretold: Collection[int]) -> Denoiser:
        points: list[Point] = []

        def predicted(x: Array, row: Row) -> Array:
            if id(row) in foretold:
                return guess(points, level(row))
            points.append((level(row), np.array(denoiser(x, row))))
            del points[:-kept]
            return points[-1][1]

        return predicted

    return forecast


def again(points: list[Point], at: float) -> Array:
    """The last output."""
    return points[-1][1]


def line(points: list[Point], at: float) -> Array:
    """The line through the last two."""
    (before, older), (last, newer) = points[-2:]
    return np.asarray(newer + np.float32((at - last) / (last - before)) * (newer - older))


def spectrum(points: list[Point], at: float) -> Array:
    """Chebyshev polynomials of degree 3 by ridge regression (1) over the last six, 0.4 of it
    beside 0.6 of a line; over time, which Spectrum counts in steps (stable-diffusion.cpp's
    spectrum.hpp)."""

    def basis(times: list[float]) -> Any:
        return np.polynomial.chebyshev.chebvander(np.asarray(times) / 500 - 1, 3)

    known = basis([time for time, _ in points])
    weights = basis([at]) @ np.linalg.solve(known.T @ known + np.eye(4), known.T)
    fitted = sum(np.float32(w) * m for w, (_, m) in zip(weights[0], points, strict=True))
    return np.asarray(np.float32(0.4) * fitted + np.float32(0.6) * line(points, at))


def easy_cache(tolerance: float) -> Callable[[Denoiser, Collection[int]], Denoiser]:
    """x and what the last output added to it, until the change that is estimated adds up to
    `tolerance` (Zhou et al. 2025, "Less is Enough", 2507.02860). It chooses its rows itself; those
    at the ends, which are never foretold, are told by `foretold`."""

    def forecast(denoiser: Denoiser, foretold: Collection[int]) -> Denoiser:
        state: dict[str, Any] = {}

        def predicted(x: Array, row: Row) -> Array:
            seen = np.float32(row.scale_in) * x
            if id(row) in foretold and "rate" in state:
                moved = np.abs(seen - state["last"]).mean() / np.abs(state["m"]).mean()
                state["error"] += state["rate"] * moved
                if state["error"] < tolerance:
                    state["last"] = seen.copy()
                    return np.asarray(seen + state["added"])
            m = np.array(denoiser(x, row))
            if "m" in state:
                way = np.abs(seen - state["x"]).mean()
                state["rate"] = np.abs(m - state["m"]).mean() / max(way, 1e-9)
            state.update(m=m, x=seen.copy(), last=seen.copy(), added=m - seen, error=0.0)
            return m

        return predicted

    return forecast


def _time(row: Row) -> float:
    return row.timestep


def _sigma(row: Row) -> float:
    return row.sigma


STEPS: Final = (8, 18)
FORECASTS: Final[Mapping[str, tuple[Forecast, tuple[int, ...]]]] = {
    "ours": (ours, (1, 2)),
    "line over σ": (_by(line, _sigma), (1,)),
    "line over σ/α": (_by(line), (1, 2)),
    "the last output": (_by(again), (1, 2)),
    "Spectrum": (_by(spectrum, _time, kept=6), (1, 2)),
    # In place of any calls but those at the ends, and every ninth.
    "EasyCache 0.1": (easy_cache(0.1), (8,)),
    "EasyCache 0.2": (easy_cache(0.2), (8,)),
}


def main() -> None:
    rows = []
    with Img2Img.open(device="cpu") as pipe:
        for guidance in GUIDANCE:
            for steps in STEPS:
                asked = {"steps": steps, "steps_mode": "exact", "guidance_scale": guidance}
                exact, _, _ = painted(pipe, asked)
                for name, (forecast, each) in FORECASTS.items():
                    vars(predicting)["forecast"] = forecast
                    for n in each:
                        pictures, calls, _ = painted(pipe, {**asked, "forecast": n})
                        pairs = zip(pictures, exact, strict=True)
                        decibels = [min(psnr(*pair), MOST_DB) for pair in pairs]
                        row = {
                            "forecast": name,
                            "in_a_row": n,
                            "steps": steps,
                            "guidance": guidance,
                            "calls": round(calls, 3),
                            "psnr_median": round(float(np.median(decibels)), 1),
                            "psnr_worst": round(min(decibels), 1),
                        }
                        rows.append(row)
                        sys.stderr.write(f"{row}\n")
    Path(sys.argv[1]).write_text(json.dumps({"rows": rows}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
