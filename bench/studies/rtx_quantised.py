# ruff: noqa: T201
"""Denoisers in eight bits: what is left of a picture, and what TensorRT for RTX's builder says.

    python bench/studies/rtx_quantised.py embedded sd1.5 --work /tmp/quantised \
        --results bench/results/rtx-quantised.json
    python bench/studies/rtx_quantised.py --table bench/results/rtx-quantised.json

The embedded model, which is trained, paints two pictures while its denoiser says how far each
activation reaches; then one more, rounded, by ONNX Runtime on the processor, in float32 arithmetic
on the eight-bit numbers. That one's PSNR against the same picture unrounded is the gate's figure.
An architecture that is named has random weights, no picture, and scales that mean nothing: only
time and size are asked of it. Each plan is built by the real builder in a process of its own; one
that takes more than --memory of its own is ended. No GPU is needed, and none is asked.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image
from quantised_graph import FORMATS, most, products, quantised, reader_of, watched
from rtx_builds import bundle_of, run
from rtx_results import record

from overpaint.bundle.arrays import Array
from overpaint.bundle.errors import SessionError
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.manifest import Component
from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.graph.weights import unbind
from overpaint.engines.choose import choose, open_session
from overpaint.engines.host.cores import usable_cores
from overpaint.engines.host.sizes import parse_bytes
from overpaint.engines.onnxruntime.library import import_onnxruntime, message_of, session_options
from overpaint.engines.openvino.bf16 import BAR_DB
from overpaint.engines.session.session import Session
from overpaint.engines.tensorrt.builder import build_plan
from overpaint.engines.tensorrt.edition import RTX
from overpaint.engines.tensorrt.libraries import library
from overpaint.engines.tensorrt.record import USER_ALLOCATION
from overpaint.engines.tensorrt.shapes import default_range, ranged_profiles
from overpaint.runtime.components import Components
from overpaint.runtime.default_bundle import EMBEDDED
from overpaint.runtime.engines import Engines
from overpaint.runtime.image.compare import psnr
from overpaint.runtime.precision_gate import PROMPT, landscape
from overpaint.runtime.request import Request
from overpaint.runtime.result import Complete
from overpaint.runtime.run import run as paint_events
from overpaint.runtime.settings import Settings

SIDE: Final = 256
PLAIN: Final = "as it is"
CARDS: Final = {PLAIN: ("8.9", "12.0"), "int8": ("8.9", "12.0"), "fp8": ("8.9", "12.0")}
"""The same for all, so that sizes can be compared: those that have eight-bit floats."""

_PHOTO: Final = Path(__file__).parents[2] / "examples" / "summer.png"
TEACHERS: Final = (("a castle on a hill in autumn", 1), ("a boat on the sea at night", 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """One denoiser in one format. `psnr_db`: its picture against the unrounded one, None where the
    weights are random. The plan's figures are as in rtx_builds.py; `failed` is TensorRT's reason.
    """

    model: str
    dtype: str
    format: str
    products: int
    weights_mb: float
    psnr_db: float | None = None
    compute_capabilities: tuple[str, ...]
    tensorrt_rtx: str
    cpu_seconds: float | None = None
    own_mb: int | None = None
    peak_mb: int | None = None
    plan_mb: float | None = None
    failed: str = ""


class Plain:
    """A graph on the processor, all of whose outputs are kept: `reach` is the most of each that the
    graph was made to watch. QuantizeLinear and DequantizeLinear run as they stand, unfused: ONNX
    Runtime takes any eight bits between them for integers."""

    def __init__(self, graph: Path, component: Component) -> None:
        runtime = import_onnxruntime()
        options = session_options(runtime, usable_cores())
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        try:
            self._engine = runtime.InferenceSession(str(graph), options)
        except Exception as error:  # onnxruntime's exceptions share no base of their own
            raise SessionError(f"{graph} cannot be loaded: {message_of(error)}") from error
        self.device = f"onnxruntime {runtime.__version__} CPU"
        self.reach: dict[str, float] = {}
        self._names = [tensor.name for tensor in self._engine.get_outputs()]
        self._watched = set(self._names) - {tensor.name for tensor in component.outputs}

    def run(self, feed: Mapping[str, Array], held: Mapping[str, Array]) -> Mapping[str, Array]:
        found = dict(zip(self._names, self._engine.run(self._names, dict(feed)), strict=True))
        for name in self._watched:
            self.reach[name] = max(self.reach.get(name, 0.0), float(found.pop(name)))
        return found

    def close(self) -> None:
        """Nothing to do: it goes with its session."""


def paint(
    bundle: Bundle, engine: Plain, image: Image.Image, prompt: str, seed: int
) -> npt.NDArray[np.uint8]:
    """A picture of the bundle's own defaults, its denoiser run by `engine`."""
    decision, denoiser = choose(bundle, "cpu"), bundle.manifest.denoiser

    def opened(name: str) -> Session:
        if name == denoiser:
            return Session(name, bundle.component(name), engine)
        return open_session(bundle, name, decision)

    engines = Engines.of(bundle, Components((), opened, low_memory=True), decision)
    request = Request(image, prompt, Settings(seed=seed, size=(SIDE, SIDE)))
    for event in paint_events(engines, request):
        if isinstance(event, Complete):
            print(file=sys.stderr)
            return np.asarray(event.result.images[0], np.uint8)
        print(f"\r{prompt}: {event.index} of {event.total} ", end="", file=sys.stderr)
    raise AssertionError("a run ends in Complete or an error")


def calibrate(bundle: Bundle) -> dict[str, float]:
    """How far each activation of the denoiser reaches, over every step of a few pictures."""
    graph = graph_of(bundle)
    beside = graph.with_name("watched.onnx")
    beside.write_bytes(watched(graph.read_bytes()))
    engine = Plain(beside, bundle.component(bundle.manifest.denoiser))
    photo = Image.open(_PHOTO).convert("RGB")
    for prompt, seed in TEACHERS:
        paint(bundle, engine, photo, prompt, seed)
    template, _ = unbind(graph.read_bytes())
    return {one.activation: engine.reach[most(one.activation)] for one in products(template)}


def write(bundle: Bundle, format_: str, reach: Mapping[str, float]) -> Path:
    """The denoiser's graph in a format, beside the one that there is."""
    graph = graph_of(bundle)
    if format_ == PLAIN:
        return graph
    path = graph.with_name(f"{format_}.onnx")
    model = quantised(graph.read_bytes(), FORMATS[format_], reach, reader_of(graph.parent))
    path.write_bytes(model)
    return path


def gate(bundle: Bundle, graph: Path) -> float:
    """PSNR in dB of the gate's picture by `graph`, against that by the bundle's own."""
    component = bundle.component(bundle.manifest.denoiser)
    exact, rounded = (
        paint(bundle, Plain(path, component), landscape(SIDE), PROMPT, 0)
        for path in (graph_of(bundle), graph)
    )
    return psnr(rounded, exact)


def measure(
    bundle: Bundle, model: str, formats: Sequence[str], trained: bool, most_bytes: int
) -> Iterator[Built]:
    """Round, gate and build the denoiser in each format."""
    component = bundle.component(bundle.manifest.denoiser)
    graph = graph_of(bundle)
    template, weights = unbind(graph.read_bytes())
    listed = products(template)
    reach = calibrate(bundle) if trained else {one.activation: 8.0 for one in listed}
    pieces = (piece for weight in weights.values() for piece in weight.pieces)
    row = Built(
        model=model,
        dtype=component.compute_dtype,
        format=PLAIN,
        products=0,
        weights_mb=_mb(sum(piece.length for piece in pieces)),
        compute_capabilities=(),
        tensorrt_rtx=library(RTX.builder).version,
    )
    for format_ in formats:
        path, plan = write(bundle, format_, reach), graph.with_name("denoiser.plan")
        eight = format_ != PLAIN
        known = replace(
            row,
            format=format_,
            products=len(listed) if eight else 0,
            psnr_db=round(gate(bundle, path), 2) if trained and eight else None,
            compute_capabilities=CARDS[format_],
        )
        one = ("--one", str(bundle.folder), str(path), str(plan), *known.compute_capabilities)
        ran = run((sys.executable, __file__, *one), most_bytes)
        yield replace(
            known,
            cpu_seconds=ran.cpu_seconds,
            own_mb=ran.own >> 20,
            peak_mb=ran.peak >> 20,
            plan_mb=None if ran.failed else _mb(plan.stat().st_size),
            failed=ran.failed,
        )
        plan.unlink(missing_ok=True)


def build_one(folder: str, graph: str, plan: str, *cards: str) -> None:
    """What a process of its own does."""
    bundle = open_bundle(folder)
    denoiser = bundle.manifest.denoiser
    built = build_plan(
        library(RTX.builder).module,
        Path(graph),
        ranged_profiles(bundle.manifest, default_range(bundle))[denoiser],
        flags=(USER_ALLOCATION,),
        compute_capabilities=cards,
        report=lambda fraction, phase: None,
        cancelled=lambda: False,
    )
    Path(plan).write_bytes(built.plan)


def graph_of(bundle: Bundle) -> Path:
    """The denoiser's graph."""
    return bundle.path(bundle.component(bundle.manifest.denoiser).graph)


def copied(work: Path) -> Bundle:
    """A copy of the embedded model, beside whose graph others may lie."""
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(EMBEDDED, work)
    return open_bundle(work)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The results as docs/tensorrt.md shows them."""
    lines = [
        "| denoiser | format | weights | PSNR | CPU | own memory | plan |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        said = "" if row["psnr_db"] is None else f"{row['psnr_db']} dB"
        plan = row["failed"] or f"{row['plan_mb']:,} MB"
        lines.append(
            f"| {row['model']}, {row['dtype']} | {row['format']} | {row['weights_mb']:,} MB | "
            f"{said} | {row['cpu_seconds']} s | {row['own_mb']:,} MB | {plan} |"
        )
    return "\n".join(lines) + "\n"


def _mb(size: int) -> float:
    return round(size / 2**20, 1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", metavar="NAME", help="embedded, or as --like has them")
    parser.add_argument("--work", type=Path, help="a folder on a disk with room; it is removed")
    parser.add_argument("--formats", nargs="+", choices=tuple(CARDS), default=tuple(CARDS))
    parser.add_argument("--memory", default="10GB", help="%(default)s; a build with more is ended")
    parser.add_argument("--results", type=Path, help="a JSON file to put the figures into")
    parser.add_argument("--table", type=Path, help="print such a file as a table, and end")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        build_one(*chosen.one)
        return
    if chosen.table:
        print(table(json.loads(chosen.table.read_text())["rows"]), end="")
        return
    if chosen.work is None or not chosen.models:
        parser.error("expected --work FOLDER and the name of a model")
    bound = parse_bytes("--memory", chosen.memory)
    for name in chosen.models:
        trained = name == "embedded"
        try:
            bundle = copied(chosen.work) if trained else bundle_of(name, "float16", chosen.work)
            for row in measure(bundle, name, chosen.formats, trained, bound):
                print(json.dumps(asdict(row)), flush=True)
                if row.psnr_db is not None:
                    verdict = "passes" if row.psnr_db >= BAR_DB else "is refused"
                    print(f"{row.format} {verdict}: {row.psnr_db} dB, {BAR_DB:g} is the least")
                if chosen.results:
                    record(chosen.results, asdict(row), same=("model", "format"))
        finally:
            shutil.rmtree(chosen.work, ignore_errors=True)


if __name__ == "__main__":
    main()
