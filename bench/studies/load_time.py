# ruff: noqa: T201
"""How a bundle's graphs load: folded transposes, weights used as they lie, or an optimized copy.

    python bench/studies/load_time.py /tmp/load_time      # 10 minutes, 8 GB of disk and memory
    python bench/studies/load_time.py /tmp/load_time --forms folded,optimized

Makes Stable Diffusion 1.5's UNet at full size with random weights, traces it without allocating
them, binds the graph to the safetensors file, and measures in a fresh process for each form: the
time to open a session, one step (batch 2, 512x512), and resident memory after it; then starts a
second process beside the first and prints what each holds of the memory that they share (PSS).

`folded`     as exported: MatMul of Transpose(weight); ONNX Runtime folds the transposes at load
`unfolded`   the same graph without constant folding: ONNX Runtime fuses Transpose into MatMul
`as-it-lies` FusedMatMul(transB) of the weight itself (an operator of ONNX Runtime's own)
`gemm`       Gemm(transB) between two reshapes (plain ONNX)
`optimized`  ONNX Runtime's own copy of `folded` after its optimizations, with its own weight file
`mapped`     the same copy without packing weights anew: they stay where the file is mapped

CPU seconds stand beside wall seconds: they do not depend on what else the machine is doing.

docs/decisions/0002-weights-by-reference.md has the figures and what follows from them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

FORMS = ("folded", "unfolded", "as-it-lies", "gemm", "optimized", "mapped")
SECONDS = ("load", "load_cpu", "step", "step_cpu")
MEGABYTES = ("rss", "anon", "file", "peak", "pss")
UNET = {
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [320, 640, 1280, 1280],
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "sample_size": 64,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="where the network is made and kept")
    parser.add_argument("--forms", default=",".join(FORMS), help="which, comma between")
    parser.add_argument("--measure", choices=FORMS, help="measure one form in this process")
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    chosen = parser.parse_args()
    if chosen.measure:
        measure(chosen.folder, chosen.measure, chosen.threads)
        return
    prepare(chosen.folder, chosen.dtype)
    columns = ("load s", "CPU s", "step s", "CPU s", "RSS MB", "anon", "file", "peak", "PSS of 2")
    print(f"{'':12}" + "".join(f"{column:>9}" for column in columns), flush=True)
    for form in chosen.forms.split(","):
        row = measured(chosen.folder, form, chosen.threads)
        cells = [f"{row[key]:9.1f}" for key in SECONDS] + [f"{row[key]:9.0f}" for key in MEGABYTES]
        print(f"{form:12}{''.join(cells)}  rms {row['rms']:.6f}", flush=True)


def measured(folder: Path, form: str, threads: int) -> dict[str, float]:
    """One process's figures, and its share of memory once a second one has run beside it."""
    command = [sys.executable, __file__, str(folder), "--measure", form, "--threads", str(threads)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        row: dict[str, float] = json.loads(first.stdout.readline())
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as second:
            assert second.stdout is not None
            second.stdout.readline()
            row["pss"] = memory(first.pid, "smaps_rollup")["Pss"]
            second.kill()
        first.kill()
    return row


def prepare(folder: Path, dtype: str) -> None:
    """The weights, and the graph in each form. What is there already is kept."""
    import onnx
    import onnxruntime

    from overpaint.bundle.checkpoint.safetensors import read_header
    from overpaint.bundle.graph.weights import Piece, Weight, bind, slots
    from overpaint.export.parts import unet_part
    from overpaint.export.trace import trace

    folder.mkdir(parents=True, exist_ok=True)
    weights, template = folder / "weights.safetensors", folder / "template.onnx"
    if not template.exists():
        started = time.perf_counter()
        template.write_bytes(trace(unet_part(UNET, "float32")))
        print(f"traced in {time.perf_counter() - started:.0f} s", file=sys.stderr)
    if not weights.exists():
        write_random(weights, slots(template.read_bytes()), dtype)
    pieces = {
        name: Weight(stored.dtype, (Piece(weights.name, stored.offset, stored.size),))
        for name, stored in read_header(weights)[0].items()
    }
    (folder / "folded.onnx").write_bytes(bind(template.read_bytes(), pieces))
    for form, rewrite in (("as-it-lies", fused_matmul), ("gemm", gemm)):
        model = onnx.load(folder / "folded.onnx", load_external_data=False)
        rewrite_linears(model, rewrite)
        onnx.save(model, folder / f"{form}.onnx")
    if not (folder / "optimized.onnx").exists():
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = os.fspath(folder / "optimized.onnx")
        for key, value in (("file_name", "optimized.bin"), ("min_size_in_bytes", "1024")):
            options.add_session_config_entry(
                f"session.optimized_model_external_initializers_{key}", value
            )
        onnxruntime.InferenceSession(folder / "folded.onnx", options)


def write_random(path: Path, slots: Mapping[str, Any], dtype: str) -> None:
    """Weights of a size that keeps a signal's, one after the other: none is held."""
    import numpy as np

    from overpaint.bundle.checkpoint.safetensors import ToWrite, write_safetensors

    rng = np.random.default_rng(0)

    def draw(shape: tuple[int, ...]) -> bytes:
        if len(shape) == 1:
            return np.ones(shape, dtype).tobytes()
        spread = np.float32(np.prod(shape[1:]) ** -0.5)
        return (rng.standard_normal(shape, np.float32) * spread).astype(dtype).tobytes()

    stored = {"float32": "F32", "float16": "F16"}[dtype]
    tensors = {
        name: ToWrite(stored, slot.shape, lambda shape=slot.shape: draw(shape))  # type: ignore[misc]
        for name, slot in slots.items()
    }
    beside = path.with_suffix(".part")
    write_safetensors(beside, tensors)
    beside.rename(path)


def rewrite_linears(model: Any, rewrite: Callable[[Any, Any, str, int], list[Any]]) -> None:
    """Replace every MatMul by a transposed weight with what `rewrite` makes of it."""
    graph = model.graph
    sides = {t.name: list(t.dims) for t in graph.initializer}
    turned = {
        node.output[0]: node
        for node in graph.node
        if node.op_type == "Transpose" and node.input[0] in sides
    }
    nodes = []
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in turned:
            weight = turned[node.input[1]].input[0]
            nodes += rewrite(model, node, weight, sides[weight][0])
        else:
            nodes.append(node)
    used = {name for node in nodes for name in node.input}
    kept = [n for n in nodes if n.output[0] not in turned or n.output[0] in used]
    del graph.node[:]
    graph.node.extend(kept)


def fused_matmul(model: Any, node: Any, weight: str, width: int) -> list[Any]:
    import onnx.helper as make

    if all(entry.domain != "com.microsoft" for entry in model.opset_import):
        model.opset_import.append(make.make_opsetid("com.microsoft", 1))
    return [
        make.make_node(
            "FusedMatMul",
            [node.input[0], weight],
            list(node.output),
            node.name,
            domain="com.microsoft",
            transB=1,
        )
    ]


def gemm(model: Any, node: Any, weight: str, width: int) -> list[Any]:
    """Rows side by side, Gemm, and the leading sizes back."""
    import onnx.helper as make

    name, x = node.output[0], node.input[0]
    constants = {"rows": [-1], "width": [width], "from": [0], "to": [-1]}
    for key, value in constants.items():
        model.graph.initializer.append(make.make_tensor(f"{name}/{key}", 7, [1], value))
    inner = next(t for t in model.graph.initializer if t.name == weight).dims[1]
    model.graph.initializer.append(make.make_tensor(f"{name}/2d", 7, [2], [-1, inner]))
    return [
        make.make_node("Shape", [x], [f"{name}/leading"], end=-1),
        make.make_node("Concat", [f"{name}/leading", f"{name}/width"], [f"{name}/shape"], axis=0),
        make.make_node("Reshape", [x, f"{name}/2d"], [f"{name}/x"]),
        make.make_node("Gemm", [f"{name}/x", weight], [f"{name}/y"], node.name, transB=1),
        make.make_node("Reshape", [f"{name}/y", f"{name}/shape"], [name]),
    ]


def measure(folder: Path, form: str, threads: int) -> None:
    """Open a session, run two steps, print what they took (the faster one), wait for an end."""
    import numpy as np
    import onnxruntime

    graph = {"unfolded": "folded", "mapped": "optimized"}.get(form, form)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if graph == "optimized":
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if form == "mapped":
        options.add_session_config_entry("session.disable_prepacking", "1")
    disabled = ["ConstantFolding"] if form == "unfolded" else []
    before, started, cpu = memory(), time.perf_counter(), time.process_time()
    path = folder / f"{graph}.onnx"
    session = onnxruntime.InferenceSession(path, options, disabled_optimizers=disabled)
    load, load_cpu = time.perf_counter() - started, time.process_time() - cpu
    rng = np.random.default_rng(0)
    feed = {
        "sample": rng.standard_normal((2, 4, 64, 64), np.float32),
        "timestep": np.asarray(500, np.float32),
        "encoder_hidden_states": rng.standard_normal((2, 77, 768), np.float32),
    }
    steps = []
    for _ in range(2):
        started, cpu = time.perf_counter(), time.process_time()
        [out] = session.run(None, feed)
        steps.append((time.perf_counter() - started, time.process_time() - cpu))
    after = memory()
    row = {
        "load": load,
        "load_cpu": load_cpu,
        "rss": after["VmRSS"] - before["VmRSS"],
        "anon": after["RssAnon"] - before["RssAnon"],
        "file": after["RssFile"] - before["RssFile"],
        "peak": after["VmHWM"] - before["VmRSS"],
        "step": min(wall for wall, _ in steps),
        "step_cpu": min(used for _, used in steps),
        "rms": float(np.sqrt((out**2).mean())),
    }
    print(json.dumps(row), flush=True)
    sys.stdin.read()


def memory(process: int | str = "self", table: str = "status") -> dict[str, float]:
    """A process's memory as Linux counts it, in MB."""
    lines = Path(f"/proc/{process}/{table}").read_text().splitlines()
    fields = (line.split() for line in lines if line.startswith(("Vm", "Rss", "Pss:")))
    return {words[0].rstrip(":"): int(words[1]) / 1024 for words in fields}


if __name__ == "__main__":
    main()
