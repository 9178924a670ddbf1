"""Export, import and run at true sizes, with random weights: time, peak memory, disk.

    python -m overpaint.bench.real_sizes sd1.5 sdxl-base sd3.5-medium --work /tmp/sizes

Each step is a process of its own, so that its peak is its own; one JSON line a step. Checkpoints
are written into the work folder (float16: 2.0 GB for SD 1.5, 6.9 for SDXL) and deleted after. SD 3
is without T5, whose vocabulary is not packaged, and whose float32 does not fit 24 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from overpaint.engines.importing.library import open_library

from .real_checkpoint import write_file, write_folder

_SIZES: Final = {"sd1.5": "512x512", "sdxl-base": "1024x1024", "sd3.5-medium": "512x512"}
_WITHOUT: Final = ("text_encoder_3",)
_OVERPAINT: Final = (sys.executable, "-m", "overpaint.cli")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """`seconds` of wall time, `peak_mb` of resident memory, `disk_mb` that the step added."""

    architecture: str
    step: str
    seconds: float
    peak_mb: int
    disk_mb: int


def measure(name: str, work: Path, steps: list[str]) -> Iterator[Measured]:
    """Make a checkpoint of `name`, then take it through `steps`."""
    library = open_library()
    folder, file = work / "checkpoint", work / "checkpoint.safetensors"
    bundle, output = work / "bundle", work / "out.png"
    commands = {
        "export": ("export", str(folder), "-o", str(bundle)),
        "import folder": ("import", str(folder), "-o", str(bundle)),
        "import file": ("import", str(file), "-o", str(bundle), "--like", name),
        "run": (
            *("run", "--text-to-image", "a lighthouse", "--bundle", str(bundle)),
            *("--size", _SIZES.get(name, "512x512"), "--steps", "1", "-o", str(output)),
        ),
    }
    for step in steps:
        if step in ("export", "import folder") and not folder.exists():
            file.unlink(missing_ok=True)
            write_folder(library, name, folder, without=_WITHOUT)
        if step == "import file" and not file.exists():
            shutil.rmtree(bundle, ignore_errors=True)
            shutil.rmtree(folder, ignore_errors=True)
            write_file(library, name, file, without=_WITHOUT)
        if step != "run":
            shutil.rmtree(bundle, ignore_errors=True)
        before = _disk(work)
        seconds, peak = _run(commands[step])
        yield Measured(
            architecture=name,
            step=step,
            seconds=round(seconds, 2),
            peak_mb=peak,
            disk_mb=(_disk(work) - before) >> 20,
        )


def _run(command: tuple[str, ...]) -> tuple[float, int]:
    start = time.perf_counter()
    process = subprocess.Popen((*_OVERPAINT, *command, "--force"), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: overpaint {' '.join(command)}")
    return time.perf_counter() - start, usage.ru_maxrss >> 10


def _disk(folder: Path) -> int:
    """Bytes on disk; what is linked counts once."""
    statuses = (path.lstat() for path in folder.rglob("*"))
    return sum({(one.st_dev, one.st_ino): one.st_blocks * 512 for one in statuses}.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("architectures", nargs="+", choices=sorted(open_library().architectures))
    parser.add_argument("--work", type=Path, required=True, help="a folder that is emptied after")
    parser.add_argument("--steps", default="import folder,export,run,import file")
    options = parser.parse_args()
    for name in options.architectures:
        options.work.mkdir(parents=True, exist_ok=True)
        try:
            for measured in measure(name, options.work, options.steps.split(",")):
                sys.stdout.write(json.dumps(asdict(measured)) + "\n")
                sys.stdout.flush()
        finally:
            shutil.rmtree(options.work)


if __name__ == "__main__":
    main()
