"""What less computing costs: each part and each level against the exact picture, on the embedded
model's held-out scenes.

python bench/studies/fidelity.py measure bench/results/fidelity.json
python bench/studies/fidelity.py draw bench/results/fidelity.json docs/pictures/fidelity.png
python bench/studies/fidelity.py table bench/results/fidelity.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import process_time
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import uniform_filter

sys.path.insert(0, str(Path(__file__).parents[2]))

from pocket.classify import season_and_time
from pocket.journeys import JOURNEYS, Journey
from pocket.painter import paint

from overpaint.runtime import Img2Img
from overpaint.runtime.image.compare import psnr

SCENES: Final = JOURNEYS[:12]
STEPS: Final = (8, 18, 40)
"""Executed ones: `steps_mode` is exact."""
STRENGTH: Final = 0.8
GUIDANCE: Final = (3.0, 1.0)
"""Three, at which it was asked what guidance parts do, and none, which is the model's own."""
MOST_DB: Final = 99.0
"""What equal pictures count as."""

FORECASTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "forecast 1": {"forecast": 1},
    "forecast 2": {"forecast": 2},
    "forecast 3": {"forecast": 3},
}
PARTS: Final[Mapping[str, Mapping[str, Any]]] = {
    **FORECASTS,
    "guidance to 0.6": {"guidance_end": 0.6},
    "guidance to 0.5": {"guidance_end": 0.5},
    "guidance to 0.4": {"guidance_end": 0.4},
    "adaptive 0.99": {"adaptive_guidance": 0.99},
    "adaptive 0.97": {"adaptive_guidance": 0.97},
    "CFG-Zero*": {"cfg_zero_star": True},
}
LEVELS: Final[Mapping[str, Mapping[str, Any]]] = {
    name: {"fidelity": name} for name in ("exact", "balanced", "draft")
}

Picture = npt.NDArray[np.uint8]


def ssim(one: Picture, other: Picture) -> float:
    """Structural similarity of two pictures (H,W,3), the mean over 7x7 windows and channels (Wang
    et al. 2004, with a uniform window)."""
    a, b = one.astype(np.float64), other.astype(np.float64)

    def mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        smooth: npt.NDArray[np.float64] = uniform_filter(values, (7, 7, 0))
        return smooth

    ma, mb = mean(a), mean(b)
    va, vb, both = mean(a * a) - ma * ma, mean(b * b) - mb * mb, mean(a * b) - ma * mb
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    value = (2 * ma * mb + c1) * (2 * both + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
    return float(value[3:-3, 3:-3].mean())


def is_asked_for(picture: Picture, journey: Journey) -> bool:
    """Whether the classifier reads the season and the time of day that the prompt names."""
    return season_and_time(picture) == (journey.goal.season, journey.goal.time)


def painted(pipe: Img2Img, asked: Mapping[str, Any]) -> tuple[list[Picture], float, float]:
    """Every scene repainted; evaluations by exact ones, and CPU seconds of a picture."""
    pictures, computed, exact, seconds = [], 0, 0, 0.0
    for journey in SCENES:
        origin = Image.fromarray(paint(journey.origin))
        before = process_time()
        result = pipe(origin, journey.prompt, seed=journey.seed, strength=STRENGTH, **asked)
        seconds += process_time() - before
        pictures.append(np.asarray(result.images[0]))
        computed += result.evaluations
        exact += result.exact_evaluations
    return pictures, computed / exact, seconds / len(SCENES)


def measured(pipe: Img2Img, steps: int, guidance: float) -> list[dict[str, Any]]:
    asked = {"steps": steps, "steps_mode": "exact", "guidance_scale": guidance}
    references, _, _ = painted(pipe, asked)
    rows = []
    parts = PARTS if guidance > 1 else FORECASTS
    for name, part in {**LEVELS, **parts}.items():
        pictures, calls, seconds = painted(pipe, {**asked, **part})
        pairs = list(zip(pictures, references, strict=True))
        decibels = [min(psnr(*pair), MOST_DB) for pair in pairs]
        row = {
            "part": name,
            "steps": steps,
            "guidance": guidance,
            "calls": round(calls, 3),
            "cpu_s": round(seconds, 3),
            "psnr_median": round(float(np.median(decibels)), 1),
            "psnr_worst": round(min(decibels), 1),
            "ssim_median": round(float(np.median([ssim(*pair) for pair in pairs])), 4),
            "as_asked": sum(map(is_asked_for, pictures, SCENES)),
            "as_asked_exact": sum(map(is_asked_for, references, SCENES)),
        }
        rows.append(row)
        sys.stderr.write(f"{row}\n")
    return rows


def measure(output: Path) -> None:
    with Img2Img.open(device="cpu") as pipe:
        rows = [
            row
            for guidance in GUIDANCE
            for steps in STEPS
            for row in measured(pipe, steps, guidance)
        ]
    told = {"scenes": len(SCENES), "strength": STRENGTH, "rows": rows}
    output.write_text(json.dumps(told, indent=1) + "\n", "utf-8")


HEAD: Final = """
Guidance {guidance:g}: evaluations by exact ones, the median PSNR in dB, and the worst in brackets

| | {steps} | SSIM | CPU s | as asked | exact |
|---|{dashes}--:|--:|--:|--:|
"""


def table(results: Path) -> None:
    """The rows in Markdown, one for each part; SSIM and seconds are those of the middle row."""
    rows = json.loads(results.read_text("utf-8"))["rows"]
    titles = " | ".join(f"{steps} steps" for steps in STEPS)
    for guidance in GUIDANCE:
        head = HEAD.format(guidance=guidance, steps=titles, dashes="--:|" * len(STEPS))
        sys.stdout.write(head)
        found = [row for row in rows if row["guidance"] == guidance]
        for name in dict.fromkeys(row["part"] for row in found):
            each = [row for row in found if row["part"] == name]
            sys.stdout.write(f"| {name} | {' | '.join(_cells(each))} |\n")


def _cells(each: Sequence[Mapping[str, Any]]) -> list[str]:
    middle, whole = each[len(each) // 2], len(each) * len(SCENES)
    return [
        *map(_distance, each),
        f"{middle['ssim_median']:.3f}",
        f"{middle['cpu_s']:.2f}",
        f"{sum(row['as_asked'] for row in each)} of {whole}",
        str(sum(row["as_asked_exact"] for row in each)),
    ]


def _distance(row: Mapping[str, Any]) -> str:
    told = f"{row['calls']:.2f}"
    if row["psnr_worst"] < MOST_DB:
        told += f": {row['psnr_median']:.1f} ({row['psnr_worst']:.1f})"
    return told


def draw(results: Path, output: Path) -> None:
    """Calls against PSNR, one panel for each number of steps: medians, and the worst below."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    rows = json.loads(results.read_text("utf-8"))["rows"]
    figure, panels = plt.subplots(1, len(STEPS), figsize=(11, 4), sharey=True, layout="constrained")
    for panel, steps in zip(panels, STEPS, strict=True):
        for row in rows:
            if row["steps"] != steps or row["calls"] == 1 or row["guidance"] != GUIDANCE[0]:
                continue
            colour = {"balanced": "#b1432f", "draft": "#d08a3e"}.get(row["part"], "#33658a")
            at, median, worst = row["calls"], row["psnr_median"], row["psnr_worst"]
            panel.plot([at, at], [worst, median], color=colour, linewidth=1)
            panel.plot(at, median, "o", color=colour)
            panel.annotate(
                row["part"], (at, median), (3, 4), textcoords="offset points", fontsize=7
            )
        panel.set_title(f"{steps} steps")
        panel.set_xlabel("the denoiser's evaluations, by exact")
        panel.set_xlim(0.25, 1.05)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("PSNR to exact, dB: median, and the worst of 12")
    figure.savefig(output, dpi=110)


COMMANDS: Final[Mapping[str, Callable[..., None]]] = {
    "measure": measure,
    "draw": draw,
    "table": table,
}


def main() -> None:
    command, *paths = sys.argv[1:]
    COMMANDS[command](*map(Path, paths))


if __name__ == "__main__":
    main()
