# ruff: noqa: T201
"""Build plans of TensorRT for RTX without weights, in both ways: what either takes, and asks for.

    python bench/studies/rtx_weightless.py embedded sd1.5 --work /tmp/rtx --ways inputs refit \
        --results bench/results/tensorrt-rtx-weightless-2-cores.json
    python bench/studies/rtx_weightless.py --table FILE

`inputs`: each weight is an input of the engine, for four kinds of card. `refit`: each is a constant
without values, for one, as the builder takes no more. `inside`: as `overpaint build` builds without
--weightless, to compare with. No GPU is needed, and none is asked. Each component is built in a
process of its own. `activations` is what TensorRT says that the largest size of the range takes on
the GPU besides weights: where weights are inputs, what it makes of them anew at each run is in it.
"""

from __future__ import annotations

import argparse
import json
import logging
import lzma
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

from rtx_builds import bundle_of, run
from rtx_results import record

from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.open import open_bundle
from overpaint.engines.host.sizes import parse_bytes
from overpaint.engines.tensorrt.build import to_be_built
from overpaint.engines.tensorrt.builder import build_plan
from overpaint.engines.tensorrt.cards import USUAL
from overpaint.engines.tensorrt.edition import RTX
from overpaint.engines.tensorrt.estimate import BYTES
from overpaint.engines.tensorrt.libraries import library
from overpaint.engines.tensorrt.record import USER_ALLOCATION, Weights
from overpaint.engines.tensorrt.shapes import default_range, ranged_profiles
from overpaint.engines.tensorrt.weightless import FLAGS, template_of
from overpaint.runtime.default_bundle import EMBEDDED

SAME: Final = ("architecture", "component", "dtype", "way")
_CARDS: Final[dict[Weights, tuple[str, ...]]] = {
    "inside": USUAL,
    "inputs": USUAL,
    "refit": ("8.6",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """One component's build. `weights_mb` were not read; `own_mb` is the memory that the process
    had of its own at most, `packed_kb` the plan under xz."""

    architecture: str
    component: str
    dtype: str
    way: Weights
    cards: str
    weights_mb: int
    seconds: float
    cpu_seconds: float
    own_mb: int
    plan_mb: float | None = None
    packed_kb: int | None = None
    activations_mb: int | None = None
    failed: str = ""


class Said(logging.Handler):
    """What TensorRT says of memory."""

    activations = 0

    def emit(self, record: logging.LogRecord) -> None:
        if found := re.search(r"Total Activation Memory: (\d+)", record.getMessage()):
            self.activations = int(found[1])


def measure(bundle: Bundle, architecture: str, component: str, way: Weights, most: int) -> Built:
    """Build a component in a process of its own, which is ended where it takes `most` bytes."""
    described, slots = bundle.component(component), template_of(bundle, component).slots
    with tempfile.TemporaryDirectory() as work:
        command = (__file__, "--one", str(bundle.folder), component, way, work)
        ran = run((sys.executable, *command), most)
        known: dict[str, Any] = {
            "architecture": architecture,
            "component": component,
            "dtype": described.compute_dtype,
            "way": way,
            "cards": ", ".join(_CARDS[way]),
            "weights_mb": sum(prod(one.shape) for one in slots.values())
            * BYTES[described.compute_dtype]
            >> 20,
            "seconds": ran.seconds,
            "cpu_seconds": ran.cpu_seconds,
            "own_mb": ran.own >> 20,
        }
        if ran.failed:
            return Built(**known, failed=ran.failed)
        plan = (Path(work) / "plan").read_bytes()
        return Built(
            **known,
            plan_mb=round(len(plan) / 1e6, 1),
            packed_kb=None if way == "inside" else round(len(lzma.compress(plan)) / 1e3),
            activations_mb=int((Path(work) / "activations").read_text()) >> 20,
        )


def build_one(folder: str, component: str, way: Weights, work: str) -> None:
    """What a process of its own does."""
    bundle, said, logger = open_bundle(folder), Said(), logging.getLogger("overpaint.tensorrt")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(said)
    source = to_be_built(bundle, component, way, Path(work))
    built = build_plan(
        library(RTX.builder).module,
        source.graph,
        ranged_profiles(bundle.manifest, default_range(bundle))[component],
        flags=(USER_ALLOCATION, *FLAGS[way]),
        compute_capabilities=_CARDS[way],
        report=lambda fraction, phase: None,
        cancelled=lambda: False,
        rewrites=source.rewrites,
        weights=source.slots,
    )
    (Path(work) / "plan").write_bytes(built.plan)
    (Path(work) / "activations").write_text(str(said.activations))


def table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The results as docs/decisions/0017 shows them."""
    yield "| | component | weights | way | CPU | own memory | plan | under xz | activations |"
    yield "|---|---|---:|---|---:|---:|---:|---:|---:|"
    for row in rows:
        begin = (
            f"| `{row['architecture']}` | `{row['component']}`, {row['dtype']} | "
            f"{row['weights_mb']:,} MB | {row['way']} | {row['cpu_seconds']} s | "
            f"{row['own_mb']:,} MB"
        )
        packed = "" if row["packed_kb"] is None else f"{row['packed_kb']:,} kB"
        yield (
            f"{begin} | {row['failed']} | | |"
            if row["failed"]
            else f"{begin} | {row['plan_mb']:,} MB | {packed} | {row['activations_mb']:,} MB |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", metavar="NAME", help="as --like has it, or: embedded")
    parser.add_argument("--work", type=Path, help="a folder on a disk with room; it is removed")
    parser.add_argument("--ways", nargs="+", choices=tuple(_CARDS), default=("inputs", "refit"))
    parser.add_argument("--memory", default="4GB", help="%(default)s; a build of more is ended")
    parser.add_argument("--results", type=Path, help="a JSON file to put the figures into")
    parser.add_argument("--table", type=Path, help="print such a file as a table, and end")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        build_one(*chosen.one)
        return
    if chosen.table:
        print("\n".join(table(json.loads(chosen.table.read_text())["rows"])))
        return
    if chosen.work is None or not chosen.models:
        parser.error("expected --work FOLDER and the name of a model")
    for name in chosen.models:
        embedded = name == "embedded"
        bundle = open_bundle(EMBEDDED) if embedded else bundle_of(name, "float16", chosen.work)
        try:
            for component in bundle.manifest.components:
                for way in chosen.ways:
                    row = measure(bundle, name, component, way, parse_bytes("", chosen.memory))
                    print(json.dumps(asdict(row)), flush=True)
                    if chosen.results:
                        record(chosen.results, asdict(row), same=SAME)
        finally:
            shutil.rmtree(chosen.work, ignore_errors=True)


if __name__ == "__main__":
    main()
