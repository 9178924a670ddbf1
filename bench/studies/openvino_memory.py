# ruff: noqa: T201
"""How much memory a picture of 512x512 with guidance takes on OpenVINO, and how long opening does.

    python bench/studies/openvino_memory.py bundles/sd15 --output bench/results/openvino-memory.json
    python bench/studies/openvino_memory.py bundles/sd15 --forms "bf16,bf16 low-memory"

Each form is a process of its own that paints one picture of few steps: weights are packed at the
first step, so that more would take no more memory. `own` is what the process has for itself,
`mapped` are pages of files: the bundle's weights among them, which processes share and the kernel
takes back when it wants. Both are read from the kernel twenty times a second; `peak` is the largest
sum. CPU seconds stand beside wall seconds: they do not depend on what else the machine does.
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

FORMS: Final = ("bf16", "bf16 low-memory", "f32", "int8", "int8 low-memory")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--forms", default=",".join(FORMS))
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--measure", choices=FORMS, help="measure one form in this process")
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(measure(asked.bundle, asked.measure, asked.side)))
        return
    machine = this_machine()
    report: dict[str, Any] = {"format": "overpaint-openvino-memory", "forms": {}}
    if asked.output and asked.output.exists():
        report = json.loads(asked.output.read_text())
    report |= {"processor": machine.processor, "threads": machine.threads, "side": asked.side}
    report["versions"] = machine.versions
    with tempfile.TemporaryDirectory() as cache:  # where bf16 counts as compared already
        environment = {**os.environ, "XDG_CACHE_HOME": cache}
        for form in asked.forms.split(","):
            command = [sys.executable, __file__, str(asked.bundle), "--measure", form]
            command += ["--side", str(asked.side)]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment)
            report["forms"][form] = json.loads(done.stdout)
            print(f"{form:16} {report['forms'][form]}", flush=True)
            if asked.output:
                asked.output.write_text(json.dumps(report, indent=1) + "\n")


def measure(bundle: Path, form: str, side: int) -> dict[str, Any]:
    """Open the bundle, paint once, and say what that took, in seconds and MB."""
    from overpaint.bundle.format.open import open_bundle
    from overpaint.engines.openvino.bf16 import BAR_DB, remember
    from overpaint.runtime import Img2Img
    from overpaint.runtime.precision_gate import landscape

    precision, _, low = form.partition(" ")
    remember(open_bundle(bundle), BAR_DB)  # opened as it is the second time
    started, used = time.perf_counter(), time.process_time()
    pipe = Img2Img.open(bundle, device="openvino", precision=precision, low_memory=bool(low))
    if not low:
        pipe.wait()
    opened, opened_cpu = time.perf_counter() - started, time.process_time() - used
    after = memory()
    peaks = {"own": 0.0, "mapped": 0.0, "peak": 0.0}
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(peaks, over))
    watch.start()
    used = time.process_time()
    result = pipe(landscape(side), "a lighthouse", steps=2, strength=0.5, seed=7, size=(side, side))
    painting_cpu = time.process_time() - used
    over.set()
    watch.join()
    return {
        "opened_s": round(opened, 2),
        "opened_cpu_s": round(opened_cpu, 2),
        "opened_own_mb": round(after["own"]),
        "own_mb": round(peaks["own"]),
        "mapped_mb": round(peaks["mapped"]),
        "peak_mb": round(peaks["peak"]),
        "denoiser_calls": len(result.timings.steps),
        "painting_cpu_s": round(painting_cpu, 1),
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


if __name__ == "__main__":
    main()
