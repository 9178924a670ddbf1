# ruff: noqa: T201
"""Where an engine's time goes, by operator, in ONNX Runtime: which nodes are slow, and on what.

    python bench/studies/node_times.py bundles/sd15 --size 512x512 --output nodes.json
    python bench/studies/node_times.py bundles/sd15 --component vae_decoder --device cpu

ONNX Runtime's own profile, of one graph in the largest batch that a picture of that size takes
(guidance included), without CUDA graphs. On a GPU a node's time would be that of launching its
kernels, so each launch is made to wait for its kernel (CUDA_LAUNCH_BLOCKING): the sum is more than
a step takes, and the shares are what to look at.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from overpaint.bundle.arrays import NUMPY_DTYPES, Array
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.open import open_bundle
from overpaint.cli.sizes import parse_size
from overpaint.engines.host.cores import usable_cores
from overpaint.engines.onnxruntime.cpu.engine import PROVIDER, as_opened
from overpaint.engines.onnxruntime.cuda.operators import with_kernels
from overpaint.engines.onnxruntime.cuda.options import CUDA, GRAPHS, OPTIONS
from overpaint.engines.onnxruntime.cuda.start import start
from overpaint.engines.onnxruntime.cuda.thread import on_cuda_thread
from overpaint.engines.onnxruntime.library import import_onnxruntime, session_options, to_load
from overpaint.engines.tensorrt.shapes import PictureShape, exact_profiles

PROVIDERS: Final[Mapping[str, Any]] = {
    "cpu": [PROVIDER],
    "cuda": [(CUDA, {**OPTIONS, GRAPHS: "0"})],
}
WARM: Final = 2


def feed_of(bundle: Bundle, component: str, size: tuple[int, int]) -> dict[str, Array]:
    """Arrays of the shapes that the component has for one picture of `size`, with guidance."""
    width, height = size
    sizes = exact_profiles(bundle.manifest, [PictureShape(1, height, width)])[component][-1]
    rng = np.random.default_rng(0)
    dtypes = {one.name: NUMPY_DTYPES[one.dtype] for one in bundle.component(component).inputs}
    return {
        name: rng.standard_normal(extent.usual).astype(dtypes[name])
        if np.issubdtype(dtypes[name], np.floating)
        else np.ones(extent.usual, dtypes[name])
        for name, extent in sizes.items()
    }


def profile(
    bundle: Bundle, component: str, size: tuple[int, int], device: str, repeats: int
) -> dict[str, Any]:
    """`operators`: milliseconds of one call, calls of a kernel, and provider, slowest first."""
    runtime = import_onnxruntime()
    described = bundle.component(component)
    feed = feed_of(bundle, component, size)

    options = session_options(runtime, usable_cores())
    options.enable_profiling = True
    rewrite = with_kernels if device == "cuda" else as_opened(described)
    model = to_load(bundle.path(described.graph), options, rewrite)

    def events() -> list[dict[str, Any]]:
        engine = runtime.InferenceSession(model, options, providers=PROVIDERS[device])
        for _ in range(WARM + repeats):
            engine.run(None, feed)
        return list(json.loads(Path(engine.end_profiling()).read_text()))

    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = os.path.join(folder, "nodes")
        operators = by_operator(on_cuda_thread(events), repeats)
    return {"component": component, "device": device, "operators": operators}


def by_operator(events: Sequence[Mapping[str, Any]], last: int) -> list[dict[str, Any]]:
    """The kernels of a profile, summed by operator and provider; times and calls are of one run,
    means over the `last` ones."""
    runs: list[list[Mapping[str, Any]]] = []
    kernels: list[Mapping[str, Any]] = []
    for event in sorted(events, key=lambda one: one["ts"] + one["dur"]):
        if event["name"].endswith("_kernel_time"):
            kernels.append(event)
        elif event["name"] == "model_run":  # it ends after its kernels
            runs.append(kernels)
            kernels = []
    spent: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in (event for run in runs[-last:] for event in run):
        about = event["args"]
        spent[about["op_name"], about["provider"]].append(event["dur"] / 1e3)
    rows = [
        {
            "operator": operator,
            "provider": provider.removesuffix("ExecutionProvider"),
            "calls": len(times) // last,
            "ms": round(sum(times) / last, 3),
        }
        for (operator, provider), times in spent.items()
    ]
    return sorted(rows, key=lambda row: -row["ms"])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--component", help="absent, the denoiser")
    parser.add_argument("--size", default="512x512", help="%(default)s")
    parser.add_argument("--device", choices=tuple(PROVIDERS), default="cuda")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, help="a JSON file")
    chosen = parser.parse_args(arguments)
    os.environ["CUDA_LAUNCH_BLOCKING"] = "1"
    if chosen.device == "cuda":
        print(start())
    bundle = open_bundle(chosen.bundle)
    component = chosen.component or bundle.manifest.denoiser
    found = profile(bundle, component, parse_size(chosen.size), chosen.device, chosen.repeats)
    if chosen.output:
        chosen.output.write_text(json.dumps(found, indent=1) + "\n")
    total = sum(row["ms"] for row in found["operators"])
    print(f"{component}: {total:.1f} ms in its nodes")
    for row in found["operators"]:
        print(f"{row['ms']:10.3f} ms {row['ms'] / total:6.1%} {row['calls']:5} x "
              f"{row['operator']} ({row['provider']})")  # fmt: skip


if __name__ == "__main__":
    main()
