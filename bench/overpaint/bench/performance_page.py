"""Make docs/performance.md from the reports in bench/results.

    python -m overpaint.bench.performance_page bench/results docs/performance.md

What a report is called stands in TITLES, by the name of its file, and in which order they come.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from .compare import is_report, read_report
from .contenders import PEERS, STREAMING
from .first_trials import first_trials
from .records import Report, Run
from .sheets import Sheet, sheets

TITLES: Final = {
    "embedded-cpu": "The embedded model on a CPU",
    "embedded-compile-cpu": "The embedded model on a CPU, beside torch.compile",
    "tiny-cpu": "A tiny Stable Diffusion 1 with random weights on a CPU",
    "sd15-512-cpu": "Stable Diffusion 1.5 with random weights, 512x512 on a CPU",
    "sd15-512-f32-cpu": "Stable Diffusion 1.5, 512x512 on OpenVINO",
    "sd15-512-bf16-cpu": "Stable Diffusion 1.5, 512x512 on OpenVINO, all in bfloat16",
    "sd15-512-20-steps-bf16-cpu": "Stable Diffusion 1.5, the same with more calls of the UNet",
    "sd15-512-genai-bf16-cpu": "Stable Diffusion 1.5 beside OpenVINO GenAI, both in bfloat16",
    "sd15-512-sdcpp-bf16-cpu": "Stable Diffusion 1.5 beside stable-diffusion.cpp",
    "footprint-cpu": "Footprint of each environment",
    "embedded-growth-cpu": "How cost grows, embedded model on a CPU",
}
INTRODUCTION: Final = """# Performance

Made by `python -m overpaint.bench.performance_page bench/results docs/performance.md` from the
reports in [bench/results](../bench/results): every figure is in one of them, with the machine, the
versions and each single measurement. How they were taken, and what each word means:
[benchmark.md](benchmark.md).
"""
TRIALS: Final = """## First trials, confirmed or corrected

What was expected came from another processor (two cores, faster at matrix products). A step is one
call of the denoiser with guidance, batch 2 at 512x512, made by `python bench/studies/unet_step.py`;
environments paint with the embedded model. Arithmetic and floor are of the network as exported;
ours compute less ([decision 0013](decisions/0013-less-to-compute.md))."""


FIDELITY: Final = """## Less to compute, by choice

![PSNR to the exact picture by evaluations of the denoiser](pictures/fidelity.png)

Levels of fidelity and their parts on the embedded model with guidance 3, 12 held-out scenes; made
by `python bench/studies/fidelity.py`. The figures: [fidelity.md](fidelity.md)."""


def written(results: Path) -> str:
    """The page of all reports in `results`; other JSON files there have pages of their own."""
    found = sorted(results.glob("*.json"))
    reports = {path.stem: read_report(path) for path in found if is_report(path)}
    lines = list(page(reports))
    if (trials := first_trials(results, reports.get("footprint-cpu"))) is not None:
        lines += [TRIALS, markdown(trials)]
    if (results / "fidelity.json").is_file():
        lines.append(FIDELITY)
    return "\n\n".join(lines) + "\n"


def page(reports: dict[str, Report]) -> Iterator[str]:
    """The lines of the page; `reports` by the name of their file."""
    yield INTRODUCTION
    known = {name: reports[name] for name in TITLES if name in reports}
    yield markdown(overview(known))
    for name, report in (known | reports).items():
        yield f"## {TITLES.get(name, name)}"
        for part in sheets(report):
            if isinstance(part, Sheet):
                yield markdown(part)
            else:
                yield part.replace("\n", "  \n")


def overview(reports: Mapping[str, Report]) -> Sheet:
    """The median of every contender on one page: milliseconds, and times overpaint's."""
    peers = [name for name in PEERS if name != STREAMING]
    sheet = Sheet.of("median of a picture, ms (times overpaint's)", "calls", "overpaint", *peers)
    for name, report in reports.items():
        runs = {run.peer: run for run in report.runs if run.latency_ms}
        if len(runs) > 1 and report.work is not None:
            cells = (_median(runs.get(peer)) for peer in ("overpaint", *peers))
            sheet.add(TITLES[name], str(report.work.denoiser_calls), *cells)
    return sheet


def _median(run: Run | None) -> str:
    if run is None or run.latency_ms is None:
        return ""
    times = f" ({run.ratio.value:.2f}x)" if run.ratio else ""
    return f"{run.latency_ms.p50:,.0f}{times}"


def markdown(sheet: Sheet) -> str:
    """A sheet as a table: the first column to the left, figures to the right."""
    lines = [sheet.columns, (":--", *["--:"] * (len(sheet.columns) - 1)), *sheet.rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in lines)


def main() -> None:
    results, output = map(Path, sys.argv[1:])
    output.write_text(written(results), "utf-8")


if __name__ == "__main__":
    main()
