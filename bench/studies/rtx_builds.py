# ruff: noqa: T201
"""Build plans of TensorRT for RTX at true sizes, with random weights: time, memory, plan of each.

    python bench/studies/rtx_builds.py sd1.5 sdxl-base sd3.5-medium --work /tmp/rtx \
        --results bench/results/tensorrt-rtx-2-cores.json
    python bench/studies/rtx_builds.py --table bench/results/tensorrt-rtx-2-cores.json

No GPU is needed, and none is asked. Each component is built in a process of its own, so that its
peak is its own, for the range of sizes that `overpaint build` takes by itself. CPU seconds stand
beside wall seconds: they do not depend on what else the machine is doing. A component that is
guessed to want more than --memory of its own is not built, and a build that takes more is ended.
SD 3.5 is without T5, whose vocabulary is not packaged.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from real_checkpoint import write_folder
from rtx_results import record

from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.importing.library import open_library
from overpaint.engines.host.sizes import parse_bytes
from overpaint.engines.tensorrt.builder import build_plan
from overpaint.engines.tensorrt.cards import USUAL
from overpaint.engines.tensorrt.edition import RTX
from overpaint.engines.tensorrt.estimate import estimate
from overpaint.engines.tensorrt.libraries import library
from overpaint.engines.tensorrt.record import USER_ALLOCATION
from overpaint.engines.tensorrt.shapes import default_range, ranged_profiles

_WITHOUT: Final = ("text_encoder_3",)
_OVERPAINT: Final = Path(sys.executable).with_name("overpaint")
SAME: Final = ("architecture", "dtype", "component")
_STORED: Final = {"float16": "F16", "float32": "F32"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """One component's build: `weights_mb` megabytes in, `plan_mb` out, and `peak_mb` of resident
    memory, where `guessed_mb` were said before. `own_mb` of it were the process's own; the rest is
    the checkpoint, mapped, which the system may take back. `failed` is TensorRT's reason, or that
    it was not tried."""

    architecture: str
    dtype: str
    component: str
    sizes: str
    tensorrt_rtx: str
    weights_mb: int
    guessed_mb: int
    seconds: float | None = None
    cpu_seconds: float | None = None
    peak_mb: int | None = None
    own_mb: int | None = None
    plan_mb: float | None = None
    shared: bool = False
    failed: str = ""


def measure(
    bundle: Bundle, architecture: str, dtype: str, most: int, shared: bool
) -> Iterator[Built]:
    """Build each component of `bundle` in a process of its own, as far as `most` bytes go."""
    sizes = default_range(bundle)
    every = ranged_profiles(bundle.manifest, sizes)
    for name, profiles in every.items():
        guess = estimate(bundle, {name: profiles}, RTX)
        known: dict[str, Any] = {
            "architecture": architecture,
            "dtype": dtype,
            "component": name,
            "sizes": str(sizes),
            "tensorrt_rtx": library(RTX.builder).version,
            "weights_mb": guess.weights >> 20,
            "guessed_mb": guess.host >> 20,
        }
        if guess.host > most:
            yield Built(**known, failed=f"not tried: it may want more than {most >> 20} MB")
            continue
        plan = bundle.folder / f"{name}.plan"
        command = [sys.executable, __file__, "--one", str(bundle.folder), name, str(plan)]
        ran = run(command, most)
        yield Built(
            **known,
            seconds=ran.seconds,
            cpu_seconds=ran.cpu_seconds,
            peak_mb=ran.peak >> 20,
            own_mb=ran.own >> 20,
            plan_mb=None if ran.failed else round(plan.stat().st_size / 2**20, 1),
            shared=shared,
            failed=ran.failed,
        )
        plan.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A process that is over. `own` bytes of its `peak` were no file's; `failed`: its last line."""

    seconds: float
    cpu_seconds: float
    peak: int
    own: int
    failed: str


def run(command: Sequence[str], most: int) -> Ran:
    """Run `command`, and end it where its own memory passes `most` bytes."""
    start, own, peak = time.perf_counter(), 0, 0
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stderr=said)
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            # wait4's own figure is no less than what this process has, which was forked.
            now = _memory(process.pid)
            own = max(own, now.get("RssAnon", 0))
            peak = max(peak, now.get("VmHWM", 0))
            if own > most:
                process.kill()
            time.sleep(0.1)
        _, status, usage = ended
        said.seek(0)
        lines = said.read().strip().splitlines() or [f"ended by signal {status & 127}"]
    if own > most:
        lines.append(f"stopped as it took {own >> 20:,} MB")
    return Ran(
        seconds=round(time.perf_counter() - start, 1),
        cpu_seconds=round(usage.ru_utime + usage.ru_stime, 1),
        peak=peak,
        own=own,
        failed=lines[-1][:300] if status else "",
    )


def _memory(pid: int) -> dict[str, int]:
    """Bytes, by the kernel's names; empty for a process that is over."""
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) << 10 for words in lines if words[-1:] == ["kB"]}


def build_one(folder: str, component: str, plan: str) -> None:
    """What a process of its own does."""
    bundle = open_bundle(folder)
    built = build_plan(
        library(RTX.builder).module,
        bundle.path(bundle.component(component).graph),
        ranged_profiles(bundle.manifest, default_range(bundle))[component],
        flags=(USER_ALLOCATION,),
        compute_capabilities=USUAL,
        report=lambda fraction, phase: None,
        cancelled=lambda: False,
    )
    Path(plan).write_bytes(built.plan)


def bundle_of(architecture: str, dtype: str, work: Path) -> Bundle:
    """A bundle of the architecture's true size, its weights stored as they are computed with."""
    shutil.rmtree(work, ignore_errors=True)
    checkpoint, made = work / "checkpoint", work / "bundle"
    write_folder(
        open_library(),
        architecture,
        checkpoint,
        dtype=_STORED[dtype],
        without=_WITHOUT,
        distinct=True,
    )
    command = ("import", str(checkpoint), "--output", str(made), "--dtype", dtype)
    subprocess.run((_OVERPAINT, *command), check=True, stdout=subprocess.DEVNULL)
    return open_bundle(made)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The results as docs/tensorrt.md shows them."""
    lines = [
        "| `--like` | component | weights | wall | CPU | own memory | with what is mapped | plan |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        wall = "shared" if row["shared"] else f"{row['seconds']} s"
        cells = (
            f"{row['failed']} (guessed: {row['guessed_mb']:,} MB) | | | | "
            if row["failed"]
            else f"{wall} | {row['cpu_seconds']} s | {row['own_mb']:,} MB | "
            f"{'not known' if row['peak_mb'] is None else format(row['peak_mb'], ',') + ' MB'} | "
            f"{row['plan_mb']:,} MB"
        )
        what = f"`{row['component']}`, {row['dtype']}"
        lines.append(f"| `{row['architecture']}` | {what} | {row['weights_mb']:,} MB | {cells} |")
    return "\n".join(lines) + "\n"


def _place(row: dict[str, Any]) -> tuple[int, str]:
    """Architectures as the library has them."""
    return list(open_library().architectures).index(row["architecture"]), row["dtype"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("architectures", nargs="*", metavar="NAME", help="as --like has them")
    parser.add_argument("--work", type=Path, help="a folder on a disk with room; it is removed")
    parser.add_argument("--dtype", choices=tuple(_STORED), default="float16", help="%(default)s")
    parser.add_argument("--memory", default="10GB", help="%(default)s; more is not tried")
    parser.add_argument("--shared", action="store_true", help="other work runs: no wall times")
    parser.add_argument("--results", type=Path, help="a JSON file to put the figures into")
    parser.add_argument("--table", type=Path, help="print such a file as a table, and end")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        build_one(*chosen.one)
        return
    if chosen.table:
        print(table(json.loads(chosen.table.read_text())["rows"]), end="")
        return
    if chosen.work is None or not chosen.architectures:
        parser.error("expected --work FOLDER and the name of an architecture")
    most = parse_bytes("--memory", chosen.memory)
    for name in chosen.architectures:
        try:
            bundle = bundle_of(name, chosen.dtype, chosen.work)
            for row in measure(bundle, name, chosen.dtype, most, chosen.shared):
                print(json.dumps(asdict(row)), flush=True)
                if chosen.results:
                    record(chosen.results, asdict(row), same=SAME, order=_place)
        finally:
            shutil.rmtree(chosen.work, ignore_errors=True)


if __name__ == "__main__":
    main()
