"""What the tests ask of ONNX Runtime's CUDA provider, run in the environment that has it.

in_provider.py take GRAPHS             a JSON list of paths: what the provider takes of each
in_provider.py paint BUNDLE ORDERS     a JSON list of keywords; for each picture, CUDA's counts
in_provider.py step BUNDLE             microseconds of a step in which the GPU has nothing to do
"""

from __future__ import annotations

import ctypes
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import onnxruntime

from overpaint.bundle.graph.nodes import nodes
from overpaint.bundle.graph.proto import graph_of
from overpaint.bundle.graph.wire import read_fields
from overpaint.engines.onnxruntime.cuda.operators import with_kernels
from overpaint.engines.onnxruntime.cuda.options import CUDA, OPTIONS
from overpaint.engines.onnxruntime.library import session_options, to_load
from overpaint.runtime import Img2Img

PICTURE = Path(__file__).parents[2] / "examples/summer.png"
PARTS = ("engine", "host")
COUNTS = ("launches", "captures", "replays", "uploads", "downloads", "allocations", "live")


def take(graphs: str) -> None:
    """For each graph, opened as our sessions open it: operators that the processor is left with,
    operators that the GPU takes, and copies from one to the other."""
    print(json.dumps([_taken(path) for path in json.loads(graphs)]))


def _taken(path: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        options = session_options(onnxruntime, 1)
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        options.optimized_model_filepath = f"{folder}/optimized.onnx"
        options.add_session_config_entry(
            "session.optimized_model_external_initializers_file_name", "weights"
        )
        # With graphs on, a session is refused of which any computing lies on the processor.
        engine = onnxruntime.InferenceSession(
            to_load(path, options, with_kernels),
            options,
            providers=[(CUDA, dict(OPTIONS))],
            enable_fallback=False,
        )
        fields = list(read_fields(graph_of(Path(folder, "optimized.onnx").read_bytes())))
        copies = [len(list(nodes(fields, f"Memcpy{way}Host"))) for way in ("To", "From")]
    running: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    for share in engine.get_provider_graph_assignment_info():
        running[share.ep_name == CUDA].update(node.op_type for node in share.get_nodes())
    return {"left": running[False], "taken": running[True], "copies": sum(copies)}


def paint(bundle: str, orders: str) -> None:
    """One pipeline's pictures, in turn; then all counts, when it is closed."""
    told = []
    before = _counts()
    with Img2Img.open(bundle, device="cuda") as pipe:
        for order in json.loads(orders):
            order["size"] = tuple(order["size"])
            result = pipe(str(PICTURE), "winter", strength=1.0, **order)
            after = _counts()
            told.append({name: after[name] - before[name] for name in COUNTS})
            told[-1]["devices"] = sorted(set(result.devices.values()))
            before = after
    print(json.dumps([*told, _counts()]))


def live(bundle: str, asked: str, prompts: str) -> None:
    """What each frame of one live run costs, its prompt set before it where that is another one."""
    told = []
    with Img2Img.open(bundle, device="cuda") as pipe:
        [first, *_] = said = json.loads(prompts)
        with pipe.live(first, **json.loads(asked)) as run:
            for prompt in said:
                if prompt != run.prompt:
                    run.prompt = prompt
                before = _counts()
                run(str(PICTURE))
                after = _counts()
                told.append({name: after[name] - before[name] for name in COUNTS})
    print(json.dumps(told))


def step(bundle: str) -> None:
    """The quickest of 50 pictures of 512x512 in one step without guidance, as SD-Turbo is used.
    Nothing computes: what the engine's call takes is our part, ONNX Runtime's, and three small
    copies; what else the machine does meanwhile is in the slower ones."""
    with Img2Img.open(bundle, device="cuda") as pipe:
        steps = [
            pipe(
                str(PICTURE), "winter", size=(512, 512), steps=1, steps_mode="exact",
                guidance_scale=1.0, sampler="euler",
            ).timings.steps[0]
            for _ in range(60)
        ][10:]  # fmt: skip
    print(json.dumps({part: min(getattr(one, part) for one in steps) * 1e6 for part in PARTS}))


def _counts() -> dict[str, int]:
    counts = (ctypes.c_long * len(COUNTS))()
    ctypes.CDLL("libno_gpu.so").no_gpu_counts(counts)
    return dict(zip(COUNTS, counts, strict=True))


if __name__ == "__main__":
    {"take": take, "paint": paint, "live": live, "step": step}[sys.argv[1]](*sys.argv[2:])
