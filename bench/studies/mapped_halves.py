# ruff: noqa: T201
"""What it costs on ONNX Runtime to leave half-precision weights where their file is mapped.

    python bench/studies/mapped_halves.py bundles/sd15 --output bench/results/mapped-halves.json
    python bench/studies/mapped_halves.py bundles/sd15 --size 256x256 --batch 1 --rounds 3

Each form is a process of its own that opens a component and calls it a few times; forms take turns.
`folded`: every weight is widened when the graph is opened. `matrices`: large matrices stay mapped.
`chosen`: large kernels too, as with low memory. `all`: every matrix and kernel. Memory is in MB:
the process's own, at most while opening and while running, and beside that mapped. Seconds are
the processor's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

from node_times import feed_of
from processor_memory import memory

from overpaint.bench.machine import this_machine
from overpaint.bundle.format.open import open_bundle
from overpaint.engines.host.cores import usable_cores
from overpaint.engines.onnxruntime.cpu import halves
from overpaint.engines.onnxruntime.cpu.engine import PROVIDER, as_opened, cpu_rewrite
from overpaint.engines.onnxruntime.library import import_onnxruntime, session_options, to_load

NONE: Final = 1 << 60
FORMS: Final = {
    "folded": (NONE, NONE),
    "matrices": (halves.SMALLEST_MATRIX, NONE),
    "chosen": (halves.SMALLEST_MATRIX, halves.SMALLEST_KERNEL),
    "all": (1 << 10, 1 << 10),
}
CALLS: Final = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--component", default="unet")
    parser.add_argument("--size", default="512x512")
    parser.add_argument("--batch", type=int, default=2, choices=(1, 2))
    parser.add_argument("--forms", default=",".join(FORMS))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--measure", choices=FORMS, help="measure one form in this process")
    asked = parser.parse_args()
    width, height = map(int, asked.size.split("x"))
    if asked.measure:
        told = measure(asked.bundle, asked.component, asked.measure, (width, height), asked.batch)
        print(json.dumps(told))
        return
    machine = this_machine()
    report: dict[str, Any] = {"format": "overpaint-mapped-halves", "measured": {}}
    if asked.output and asked.output.exists():
        report = json.loads(asked.output.read_text())
    report |= {"processor": machine.processor, "threads": machine.threads}
    report["versions"] = machine.versions
    what = f"{asked.bundle.name} {asked.component} {asked.size}, batch {asked.batch}"
    forms: dict[str, list[Any]] = {form: [] for form in asked.forms.split(",")}
    report["measured"][what] = forms
    for _ in range(asked.rounds):
        for form, rounds in forms.items():
            command = [sys.executable, __file__, *sys.argv[1:], "--measure", form]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
            rounds.append(json.loads(done.stdout))
            print(f"{form:10} {rounds[-1]}", flush=True)
            if asked.output:
                asked.output.write_text(json.dumps(report, indent=1) + "\n")


def measure(
    folder: Path, component: str, form: str, size: tuple[int, int], batch: int
) -> dict[str, Any]:
    """Open a component of the bundle and call it `CALLS` times, after one that does not count."""
    bundle, runtime = open_bundle(folder), import_onnxruntime()
    described = bundle.component(component)
    halves.SMALLEST_MATRIX, halves.SMALLEST_KERNEL = FORMS[form]  # type: ignore[misc]
    rewrite = cpu_rewrite(described) if form == "folded" else as_opened(described, low_memory=True)
    feed = {
        name: array[:batch] if array.ndim else array
        for name, array in feed_of(bundle, component, size).items()
    }
    peak: dict[str, float] = {"own": 0.0, "mapped": 0.0}
    threading.Thread(target=_watch, args=(peak,), daemon=True).start()
    used = time.process_time()
    options = session_options(runtime, usable_cores())
    model = to_load(bundle.path(described.graph), options, rewrite)
    engine = runtime.InferenceSession(model, options, providers=[PROVIDER])
    opening, opened = time.process_time() - used, memory()
    time.sleep(0.1)
    told = {"open_s": round(opening, 2), "open_own": round(opened["own"])}
    told["opening_own"] = round(peak["own"])
    peak |= {"own": 0.0, "mapped": 0.0}
    steps = []
    for _ in range(1 + CALLS):
        used = time.process_time()
        engine.run(None, feed)
        steps.append(round(time.process_time() - used, 2))
    return told | {"own": round(peak["own"]), "mapped": round(peak["mapped"]), "call_s": steps[1:]}


def _watch(peak: dict[str, float]) -> None:
    while True:
        now = memory()
        for name in peak:
            peak[name] = max(peak[name], now[name])
        time.sleep(0.02)


if __name__ == "__main__":
    main()
