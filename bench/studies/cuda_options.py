# ruff: noqa: T201
"""Each option of the CUDA provider against its alternatives, on a whole img2img. Needs a GPU.

    python bench/studies/cuda_options.py bundles/sd15 --size 512x512 --output options.json
    python bench/studies/cuda_options.py bundles/sd15 --output as-it-is.json --only none

One option is changed at a time; the rest is what the product uses (its options.py). A size's first
run shows what a search or a capture costs, the median of the later ones what it brings.
`psnr` compares the picture with the product's own: an option that changes it is not only faster.
`around` is the share of a step that is not the engine's: our arithmetic, and the copies of latents
and prediction. A step that stayed on the GPU could save no more than that. `on_processor` are the
nodes that ONNX Runtime left to the processor. Written after each variant.
"""

from __future__ import annotations

import argparse
import ctypes
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

import numpy as np

from overpaint.bench.pictures import IDENTICAL_DB
from overpaint.bundle.families import FAMILIES
from overpaint.bundle.families.family import Denoiser
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.open import open_bundle
from overpaint.cli.sizes import parse_size
from overpaint.engines.host.nvidia import LIBRARY
from overpaint.engines.onnxruntime.cuda.engine import cuda_session
from overpaint.engines.onnxruntime.cuda.operators import with_kernels
from overpaint.engines.onnxruntime.cuda.options import CUDA, OPTIONS
from overpaint.engines.onnxruntime.cuda.start import start
from overpaint.engines.onnxruntime.cuda.thread import OnCudaThread, on_cuda_thread
from overpaint.engines.onnxruntime.library import import_onnxruntime, session_options, to_load
from overpaint.engines.session.session import Session
from overpaint.runtime.components import Components
from overpaint.runtime.engines import Engines
from overpaint.runtime.image.compare import psnr
from overpaint.runtime.pipeline import Img2Img
from overpaint.runtime.request import Request
from overpaint.runtime.result import Result
from overpaint.runtime.settings import Settings

ALTERNATIVES: Final[Mapping[str, tuple[str, ...]]] = {
    "enable_cuda_graph": ("0",),
    "arena_extend_strategy": ("kNextPowerOfTwo",),
    "cudnn_conv_algo_search": ("EXHAUSTIVE", "DEFAULT"),
    "cudnn_conv_use_max_workspace": ("0",),
    "prefer_nhwc": ("1",),
    "fuse_conv_bias": ("1",),
    "use_tf32": ("1",),
    "sdpa_kernel": ("1", "2", "8", "16"),  # flash, memory-efficient, cuDNN, plain
}
PHOTO: Final = Path(__file__).parents[2] / "examples" / "summer.png"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Milliseconds. `step` is the median call of the denoiser, of which `copies` are what goes to
    the GPU and back; `host` is our arithmetic between two calls. `around` is the share of host and
    copies in both. `memory_mb`: the GPU's, in use."""

    option: str
    value: str
    first: float
    later: float
    encode: float
    step: float
    copies: float
    host: float
    around: float
    decode: float
    memory_mb: int | None
    psnr: float | None


def variants(only: Sequence[str]) -> Iterator[tuple[str, str]]:
    yield "", ""
    for option, values in ALTERNATIVES.items():
        if option in only:
            yield from ((option, value) for value in values)


def measure(
    bundle: Bundle, option: str, value: str, settings: Settings, repeats: int
) -> tuple[Measured, np.ndarray]:
    """A pipeline with one option changed, and the picture that it makes."""
    changed = {**OPTIONS, option: value} if option else OPTIONS
    sessions: dict[str, Session] = {}

    def opener(name: str) -> Session:
        described = bundle.component(name)
        graph = bundle.folder / described.graph
        sessions[name] = cuda_session(name, graph, described, changed, where=start())
        return sessions[name]

    components = Components(tuple(bundle.manifest.components), opener)
    with Img2Img(Engines.of(bundle, components)).wait() as pipe:
        runs = [pipe.run(Request(PHOTO, "a lighthouse", settings)) for _ in range(repeats + 3)]
        in_use = memory()
        moved = copies(
            sessions[bundle.manifest.denoiser], FAMILIES[bundle.manifest.family].denoiser
        )
    later = [run.timings for run in runs[3:]]  # the second run captures, the third replays
    engine = median(step.engine for timings in later for step in timings.steps)
    host = median(step.host for timings in later for step in timings.steps)
    found = Measured(
        option=option or "as it is",
        value=value,
        first=_ms(runs[0].timings.total),
        later=_ms(median(one.total for one in later)),
        encode=_ms(median(one.encode for one in later)),
        step=_ms(engine),
        copies=_ms(moved),
        host=_ms(host),
        around=round((host + moved) / (host + engine), 4),
        decode=_ms(median(one.decode for one in later)),
        memory_mb=in_use,
        psnr=None,
    )
    return found, _pixels(runs[-1])


def copies(session: Session, called: Denoiser) -> float:
    """Median seconds that latents and timestep take to the GPU, and the prediction back, in the
    shapes that ran last."""
    assert isinstance(session._engine, OnCudaThread)
    plan = next(reversed(session._engine.engine._plans.values()))
    assert plan.outputs is not None
    up = [
        tensor for name, tensor in plan.inputs.items() if name in (called.sample, called.timestep)
    ]
    down = list(plan.outputs.values())

    def rounds() -> Iterator[float]:
        contents = [tensor.value.numpy() for tensor in up]
        for _ in range(50):
            start = perf_counter()
            for tensor, content in zip(up, contents, strict=True):
                tensor.upload(content)
            for output in down:
                output.download()
            yield perf_counter() - start

    return on_cuda_thread(lambda: median(rounds()))


def on_processor(bundle: Bundle, component: str) -> Counter[str]:
    """The operators of a graph that ONNX Runtime leaves to the processor."""
    runtime = import_onnxruntime()
    options = session_options(runtime, 1)
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    model = to_load(bundle.path(bundle.component(component).graph), options, with_kernels)
    engine = on_cuda_thread(
        lambda: runtime.InferenceSession(
            model, options, providers=[(CUDA, {})], enable_fallback=False
        )
    )
    return Counter(
        node.op_type
        for share in engine.get_provider_graph_assignment_info()
        if share.ep_name != CUDA
        for node in share.get_nodes()
    )


def memory() -> int | None:
    """MB of the GPU in use, by anybody; None where the driver cannot be asked."""

    def ask() -> int | None:
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        try:
            status = ctypes.CDLL(LIBRARY).cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
        except OSError:
            return None
        return None if status else (total.value - free.value) // 10**6

    return on_cuda_thread(ask)


def _pixels(result: Result) -> np.ndarray:
    return np.asarray(result.images[0])


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 4)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--size", default="512x512", help="%(default)s")
    parser.add_argument("--steps", type=int, default=10, help="executed steps, %(default)s")
    parser.add_argument("--guidance-scale", type=float, help="absent, the bundle's own")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", help="options, with commas between; or none; absent, all")
    parser.add_argument("--output", type=Path, required=True, help="a JSON file, kept up to date")
    chosen = parser.parse_args(arguments)
    bundle = open_bundle(chosen.bundle)
    print(start())
    only = () if chosen.only == "none" else (chosen.only or ",".join(ALTERNATIVES)).split(",")
    if unknown := set(only) - set(ALTERNATIVES):
        parser.error(f"--only: {', '.join(sorted(unknown))}: expected some of "
                     f"{', '.join(ALTERNATIVES)}")  # fmt: skip
    left = {name: on_processor(bundle, name) for name in bundle.manifest.components}
    for name, nodes in left.items():
        print(f"{name}: left to the processor: {dict(nodes) or 'nothing'}")
    settings = Settings(
        size=parse_size(chosen.size),
        steps=chosen.steps,
        steps_mode="exact",
        strength=0.8,
        seed=7,
        guidance_scale=chosen.guidance_scale,
    )
    rows: list[Measured] = []
    for option, value in variants(only):
        try:
            row, picture = measure(bundle, option, value, settings, chosen.repeats)
        except Exception as error:  # one option that is refused does not stop the others
            print(f"{option} {value}: {error}", flush=True)
            continue
        if not rows:
            base = picture
        row = Measured(**{**asdict(row), "psnr": min(round(psnr(picture, base), 1), IDENTICAL_DB)})
        rows.append(row)
        report = {"on_processor": left, "rows": [asdict(one) for one in rows]}
        chosen.output.write_text(json.dumps(report, indent=1) + "\n")
        print(json.dumps(asdict(row)), flush=True)


if __name__ == "__main__":
    main()
