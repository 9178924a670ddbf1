"""Make docs/performance.md from the reports in bench/results.

    python -m overpaint.bench.performance_page bench/results docs/performance.md

A report's file name is its place on the page, and what it is called stands in TITLES.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .compare import is_report, read_report
from .first_trials import first_trials
from .records import Report
from .sheets import Sheet, sheets

TITLES: Final = {
    "embedded-cpu": "The embedded model on a CPU",
    "tiny-cpu": "A tiny Stable Diffusion 1 with random weights on a CPU",
    "embedded-compile-cpu": "The embedded model on a CPU, beside torch.compile",
    "embedded-growth-cpu": "How cost grows, embedded model on a CPU",
    "footprint-cpu": "Footprint of each environment",
    "sd15-512-cpu": "Stable Diffusion 1.5 at its true size, random weights, 512x512 on a CPU",
    "sd15-512-f32-cpu": "The same at 512x512 on OpenVINO",
    "sd15-512-bf16-cpu": "The same at 512x512 on OpenVINO, both in bfloat16",
    "sd15-512-20-steps-bf16-cpu": "The same at 512x512 on OpenVINO, both in bfloat16, more calls",
}
INTRODUCTION: Final = """# Performance

Made by `python -m overpaint.bench.performance_page bench/results docs/performance.md` from the
reports in [bench/results](../bench/results): every figure is in one of them, with the machine, the
versions and each single measurement. How they were taken, and what each word means:
[benchmark.md](benchmark.md).
"""
TRIALS: Final = """## First trials, confirmed or corrected

What was expected came from another processor (two cores, faster at matrix products). A step is one
call of the denoiser with guidance, batch 2 at 512x512, made by `python bench/unet_step.py`;
environments paint with the embedded model."""


def written(results: Path) -> str:
    """The page of all reports in `results`; other JSON files there have pages of their own."""
    found = sorted(results.glob("*.json"))
    reports = {path.stem: read_report(path) for path in found if is_report(path)}
    lines = list(page(reports))
    if (trials := first_trials(results, reports.get("footprint-cpu"))) is not None:
        lines += [TRIALS, markdown(trials)]
    return "\n\n".join(lines) + "\n"


def page(reports: dict[str, Report]) -> Iterator[str]:
    """The lines of the page; `reports` by the name of their file."""
    yield INTRODUCTION
    for name, report in reports.items():
        yield f"## {TITLES.get(name, name)}"
        for part in sheets(report):
            if isinstance(part, Sheet):
                yield markdown(part)
            else:
                yield part.replace("\n", "  \n")


def markdown(sheet: Sheet) -> str:
    """A sheet as a table: the first column to the left, figures to the right."""
    lines = [sheet.columns, (":--", *["--:"] * (len(sheet.columns) - 1)), *sheet.rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in lines)


def main() -> None:
    results, output = map(Path, sys.argv[1:])
    output.write_text(written(results), "utf-8")


if __name__ == "__main__":
    main()
