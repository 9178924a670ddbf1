# ruff: noqa: T201
"""How much memory a picture of 512x512 takes on a processor, and how long opening does.

    python bench/studies/processor_memory.py bundles/sd15 --output bench/results/sd15.json
    python bench/studies/processor_memory.py bundles/sd15 --forms "cpu,openvino bf16 low-memory"

Each form is a process of its own that paints one picture of few steps, with the bundle's guidance:
weights are packed at the first step, so that more would take no more memory. `own` is what the
process has for itself, `mapped` are pages of files: the bundle's weights among them, which
processes share and the kernel takes back when it wants. Both are read from the kernel twenty times
a second; `peak` is the largest sum. CPU seconds stand beside wall seconds: they do not depend on
what else the machine does. A process that leaves others less than LEAST_FREE is ended.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Final

from overpaint.bench.machine import this_machine

FORMS: Final = (
    *("cpu", "cpu low-memory"),
    *("openvino bf16", "openvino bf16 low-memory", "openvino f32"),
    *("openvino int8", "openvino int8 low-memory"),
)
WALL: Final = ("opened_s", "painting_s", "stages_s")
STAGES: Final = ("load", "text", "encode", "denoise", "decode")
LEAST_FREE: Final = 1_500
"""MB."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--forms", default=",".join(FORMS))
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--shared", action="store_true", help="other work runs: no wall times")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--measure", choices=FORMS, help="measure one form in this process")
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(measure(asked.bundle, asked.measure, asked.side, asked.steps)))
        return
    machine = this_machine()
    report: dict[str, Any] = {"format": "overpaint-processor-memory", "forms": {}}
    if asked.output and asked.output.exists():
        report = json.loads(asked.output.read_text())
    report |= {"processor": machine.processor, "threads": machine.threads, "side": asked.side}
    report["versions"] = machine.versions
    with tempfile.TemporaryDirectory() as cache:  # where bf16 counts as compared already
        environment = {**os.environ, "XDG_CACHE_HOME": cache}
        for form in asked.forms.split(","):
            command = [sys.executable, __file__, str(asked.bundle), "--measure", form]
            command += ["--side", str(asked.side), "--steps", str(asked.steps)]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment)
            told = json.loads(done.stdout)
            report["forms"][form] = {
                name: value for name, value in told.items() if not (asked.shared and name in WALL)
            }
            print(f"{form:24} {report['forms'][form]}", flush=True)
            if asked.output:
                asked.output.write_text(json.dumps(report, indent=1) + "\n")


def measure(bundle: Path, form: str, side: int, steps: int) -> dict[str, Any]:
    """Open the bundle, paint once, and say what that took, in seconds and MB."""
    from overpaint.bundle.format.open import open_bundle
    from overpaint.engines.openvino.bf16 import BAR_DB, remember
    from overpaint.runtime import Img2Img
    from overpaint.runtime.precision_gate import landscape

    device, *more = form.split()
    low = "low-memory" in more
    [precision] = [one for one in more if one != "low-memory"] or ["f32"]
    if precision == "bf16":
        remember(open_bundle(bundle), BAR_DB)  # opened as it is the second time
    peaks = {"own": 0.0, "mapped": 0.0, "peak": 0.0}
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(peaks, over), daemon=True)
    watch.start()
    started, used = time.perf_counter(), time.process_time()
    pipe = Img2Img.open(bundle, device=device, precision=precision, low_memory=low)
    if not low:
        pipe.wait()
    opened, opened_cpu = time.perf_counter() - started, time.process_time() - used
    after, opening = memory(), peaks["own"]
    started, used = time.perf_counter(), time.process_time()
    settings: dict[str, Any] = {"steps": steps, "strength": 0.5, "seed": 7, "size": (side, side)}
    result = pipe(landscape(side), "a lighthouse", **settings)
    painting, painting_cpu = time.perf_counter() - started, time.process_time() - used
    over.set()
    watch.join()
    return {
        "opened_s": round(opened, 2),
        "opened_cpu_s": round(opened_cpu, 2),
        "opened_own_mb": round(after["own"]),
        "opening_own_mb": round(opening),
        "own_mb": round(peaks["own"]),
        "mapped_mb": round(peaks["mapped"]),
        "peak_mb": round(peaks["peak"]),
        "denoiser_calls": len(result.timings.steps),
        "steps_run": result.steps_run,
        "painting_s": round(painting, 1),
        "painting_cpu_s": round(painting_cpu, 1),
        "stages_s": {name: round(getattr(result.timings, name), 1) for name in STAGES},
    }


def memory() -> dict[str, float]:
    """MB that this process has for itself, and of files that it maps."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
    own, mapped = (int(fields[name]) * 1024 / 1e6 for name in ("RssAnon", "RssFile"))
    return {"own": own, "mapped": mapped, "peak": own + mapped}


def _watch(peaks: dict[str, float], over: threading.Event) -> None:
    while not over.wait(0.05):
        for name, now in memory().items():
            peaks[name] = max(peaks[name], now)
        lines = Path("/proc/meminfo").read_text().splitlines()
        [free] = [int(line.split()[1]) / 1000 for line in lines if line.startswith("MemAvailable")]
        if free < LEAST_FREE:
            print(f"{free:.0f} MB are left; {peaks}", file=sys.stderr, flush=True)
            os._exit(1)


if __name__ == "__main__":
    main()
