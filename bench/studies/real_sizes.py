# ruff: noqa: T201
"""Export, import and run at true sizes, with random weights: time, memory and disk of each.

    python bench/studies/real_sizes.py sd1.5 sdxl-base sd3.5-medium sd3.5-large --work /tmp/sizes
    python bench/studies/real_sizes.py --table bench/results/real-sizes-2-cores.json
    python bench/studies/real_sizes.py sd3.5-large-turbo --t5 --steps folder,import-folder --keep

Each step is a process of its own, so that its peak is its own. CPU seconds stand beside wall
seconds: they do not depend on what else the machine is doing. Checkpoints are written in float16
(2.0 GB for SD 1.5, 6.9 for SDXL, 6.2 and 17.9 for SD 3.5), and the work folder is removed at the
end, unless --keep says that another call goes on with it. What export and import make of one folder
must be the same graphs and the same weights, to the byte, and their pictures the same pictures.
Without --t5, SD 3.5 is without T5; a folder with it has a vocabulary of its own, for T5's is not
packaged.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from msgspec import to_builtins
from PIL import Image
from real_checkpoint import write_file, write_folder

from overpaint.bench.machine import this_machine
from overpaint.bundle.format.manifest_file import read_manifest
from overpaint.bundle.importing.library import open_library

STEPS: Final = {
    "folder": "a diffusers folder is written (not measured)",
    "export": "export",
    "export-reduced": "export, parity at reduced size",
    "import-folder": "import of the folder",
    "run-exported": "img2img on the export",
    "run": "img2img",
    "file": "a single file is written in the folder's place (not measured)",
    "import-file": "import of a single file",
}
_PHOTO: Final = Path(__file__).parents[2] / "examples" / "summer.png"
_T5: Final = ("text_encoder_3",)
_OVERPAINT: Final = Path(sys.executable).with_name("overpaint")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """`seconds` of wall time and `cpu_seconds`, `peak_mb` of resident memory, `disk_mb` added.

    `painting`: what a run was told; `pixels`: SHA-256 of its picture. `shared`: other work ran on
    the machine, so that the wall time says nothing.
    """

    architecture: str
    step: str
    seconds: float
    cpu_seconds: float
    peak_mb: int
    disk_mb: int
    painting: str = ""
    pixels: str = ""
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """Where everything lies while one architecture is measured; the rest as `Measured` has it."""

    root: Path
    architecture: str
    painting: str
    shared: bool = False
    without: tuple[str, ...] = _T5

    @property
    def folder(self) -> Path:
        return self.root / "checkpoint"

    @property
    def file(self) -> Path:
        return self.root / "checkpoint.safetensors"

    @property
    def exported(self) -> Path:
        return self.root / "exported"

    @property
    def imported(self) -> Path:
        return self.root / "imported"

    def command(self, step: str) -> tuple[tuple[str, ...], Path]:
        """What a step runs, and what that makes."""
        if step.startswith("run"):
            bundle = self.exported if step == "run-exported" else self.imported
            words = ("run", str(_PHOTO), "a lighthouse", "--bundle", str(bundle))
            return (*words, *self.painting.split(), "--seed", "7"), self.root / f"{step}.png"
        if step == "import-file":
            return ("import", str(self.file), "--like", self.architecture), self.imported
        if step == "import-folder":
            return ("import", str(self.folder)), self.imported
        parity = ("--parity", "reduced") if step == "export-reduced" else ()
        return ("export", str(self.folder), *parity), self.exported


def measure(work: Work, steps: Sequence[str]) -> Iterator[Measured]:
    """Take a checkpoint through `steps`, in the order that they are named."""
    library = open_library()
    for step in steps:
        if step in ("folder", "file"):
            shutil.rmtree(work.root, ignore_errors=True)
            work.root.mkdir(parents=True)
            if step == "folder":
                write_folder(library, work.architecture, work.folder, without=work.without)
            else:
                write_file(library, work.architecture, work.file, without=work.without)
            continue
        command, made = work.command(step)
        if made.is_dir():
            shutil.rmtree(made)
        before = _disk(work.root)
        seconds, cpu_seconds, peak = _run((*command, "--output", str(made), "--force"))
        yield Measured(
            architecture=work.architecture,
            step=step,
            seconds=round(seconds, 1),
            cpu_seconds=round(cpu_seconds, 1),
            peak_mb=peak,
            disk_mb=(_disk(work.root) - before) >> 20,
            painting=work.painting if step.startswith("run") else "",
            pixels=_pixels(made) if step.startswith("run") else "",
            shared=work.shared,
        )
        _check_same(work)


def _run(command: tuple[str, ...]) -> tuple[float, float, int]:
    start = time.perf_counter()
    process = subprocess.Popen((_OVERPAINT, *command), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"failed: overpaint {' '.join(command)}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss >> 10


def _check_same(work: Work) -> None:
    """Export and import of one folder: the same graphs, weights and pictures, or an end."""
    if work.folder.exists() and work.exported.exists() and work.imported.exists():
        one, other = _graphs_and_weights(work.exported), _graphs_and_weights(work.imported)
        if one != other:
            differ = sorted({name for name, _ in one ^ other})
            raise SystemExit(f"{work.architecture}: export and import differ in {differ}")
        print(f"{work.architecture}: {len(one)} graphs and weight files are the same bytes")
    pictures = [work.root / f"{step}.png" for step in ("run", "run-exported")]
    if all(picture.exists() for picture in pictures):
        if len({_pixels(picture) for picture in pictures}) > 1:
            raise SystemExit(f"{work.architecture}: export and import make different pictures")
        print(f"{work.architecture}: the pictures of export and import are the same bytes")


def _graphs_and_weights(bundle: Path) -> set[tuple[str, str]]:
    manifest = read_manifest(bundle)
    graphs = {component.graph for component in manifest.components.values()}
    files = manifest.files.items()
    return {(name, file.sha256) for name, file in files if file.weights or name in graphs}


def _pixels(picture: Path) -> str:
    with Image.open(picture) as image:
        return hashlib.sha256(image.tobytes()).hexdigest()


def _disk(folder: Path) -> int:
    """Bytes on disk; what is linked counts once."""
    statuses = (path.lstat() for path in folder.rglob("*"))
    return sum({(one.st_dev, one.st_ino): one.st_blocks * 512 for one in statuses}.values())


def record(path: Path, row: Measured) -> None:
    """Put a row into a file of results, in the place of an earlier one of the same step."""
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    rows = [one for one in rows if (one["architecture"], one["step"]) != _key(asdict(row))]
    rows = sorted([*rows, asdict(row)], key=_order)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps({"machine": to_builtins(this_machine()), "rows": rows}, indent=1) + "\n"
    )


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The results as docs/importing.md shows them."""
    lines = [
        "| `--like` | | wall | CPU | peak memory | disk added |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        step = STEPS[row["step"]] + (f", `{row['painting']}`" if row["painting"] else "")
        wall = "shared" if row["shared"] else f"{row['seconds']} s"
        cells = f"{wall} | {row['cpu_seconds']} s | {row['peak_mb']:,} MB | {row['disk_mb']} MB"
        lines.append(f"| `{row['architecture']}` | {step} | {cells} |")
    return "\n".join(lines) + "\n"


def _key(row: dict[str, Any]) -> tuple[str, str]:
    return row["architecture"], row["step"]


def _order(row: dict[str, Any]) -> tuple[int, int]:
    architectures = list(open_library().architectures)
    return architectures.index(row["architecture"]), list(STEPS).index(row["step"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="steps: " + "; ".join(f"{name}: {does}" for name, does in STEPS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("architectures", nargs="*", metavar="NAME", help="as --like has them")
    parser.add_argument("--work", type=Path, help="a folder on a disk with room")
    parser.add_argument("--keep", action="store_true", help="do not remove it at the end")
    parser.add_argument("--steps", default=",".join(STEPS), help="%(default)s")
    parser.add_argument("--painting", default="--size 512x512 --steps 2 --steps-mode exact")
    parser.add_argument("--t5", action="store_true", help="with T5, 9.5 GB of it")
    parser.add_argument("--shared", action="store_true", help="other work runs: no wall times")
    parser.add_argument("--results", type=Path, help="a JSON file to put the figures into")
    parser.add_argument("--table", type=Path, help="print such a file as a table, and end")
    chosen = parser.parse_args()
    if chosen.table:
        print(table(json.loads(chosen.table.read_text())["rows"]), end="")
        return
    if chosen.work is None or not chosen.architectures:
        parser.error("expected --work FOLDER and the name of an architecture")
    for name in chosen.architectures:
        work = Work(chosen.work, name, chosen.painting, chosen.shared, () if chosen.t5 else _T5)
        try:
            for row in measure(work, chosen.steps.split(",")):
                print(json.dumps(asdict(row)), flush=True)
                if chosen.results:
                    record(chosen.results, row)
        finally:
            if not chosen.keep:
                shutil.rmtree(chosen.work, ignore_errors=True)


if __name__ == "__main__":
    main()
