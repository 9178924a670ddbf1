# ruff: noqa: T201
"""One step of a bundle's UNet at 512x512, batch 2: torch, ONNX Runtime and OpenVINO beside a floor.

    python bench/studies/unet_step.py bundles/sd15 --output bench/results/unet-step-cpu.json
    python bench/studies/unet_step.py bundles/sd15 --forms torch-bf16,openvino-bf16 --repeats 5
    python bench/studies/unet_step.py bundles/sd15 --forms openvino-bf16,openvino-int8 # once built

Each form is a process of its own, one after the other; the first call is thrown away. Errors are
root mean squares against torch in float32, as a share of its own. Random weights do as well as
trained ones. A second call with the same --output adds its forms to those that are there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from overpaint.bench.graph_cost import graph_cost
from overpaint.bench.limits import floor_ms
from overpaint.bench.machine import this_machine
from overpaint.bench.rates import bandwidth_gbs, matrix_gflops
from overpaint.bundle.format.open import open_bundle
from overpaint.engines.choose import choose, open_session
from overpaint.engines.host.cores import usable_cores

FORMS = ("torch", "torch-bf16", "onnxruntime", "openvino", "openvino-bf16", "openvino-int8")
AT_ONCE = ",".join(FORMS[:-1])
LATENT, TOKENS, BATCH = 64, 77, 2
SIZES = {"batch": BATCH, "latent_height": LATENT, "latent_width": LATENT, "tokens": TOKENS}

Feed = dict[str, np.ndarray[Any, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--forms", default=AT_ONCE)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--measure", choices=FORMS, help="measure one form in this process")
    asked = parser.parse_args()
    unet = asked.bundle / "unet"
    if asked.measure:
        print(json.dumps(measure(asked.measure, unet, asked.repeats)))
        return
    report = read(asked.output) or {"format": "overpaint-unet-step", "forms": {}}
    report |= about(unet, report.get("matrix_gflops", 0))
    for form in asked.forms.split(","):
        command = [sys.executable, __file__, asked.bundle, "--measure", form]
        command += ["--repeats", str(asked.repeats)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        report["forms"][form] = json.loads(done.stdout)
        print(f"{form:14} {report['forms'][form]}", flush=True)
        if asked.output:
            asked.output.write_text(json.dumps(report, indent=1) + "\n")
    print(f"floor {report['floor_s']} s at {report['matrix_gflops']} GFLOP/s")


def read(path: Path | None) -> dict[str, Any]:
    if path is None or not path.exists():
        return {}
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def about(unet: Path, known_gflops: float) -> dict[str, Any]:
    """The machine, the arithmetic of one step, and how long it must take at least in float32.

    A rate that an earlier call has reached is reachable: the best one makes the floor.
    """
    machine = this_machine()
    gflops, gbs = max(matrix_gflops(), known_gflops), bandwidth_gbs()
    nodes = graph_cost(unet / "model.onnx", SIZES)
    return {
        "processor": machine.processor,
        "threads": machine.threads,
        "versions": machine.versions,
        "batch": BATCH,
        "size": [LATENT * 8, LATENT * 8],
        "tflop": round(sum(node.flop for node in nodes) / 1e12, 3),
        "tflop_without_attention": round(
            sum(node.flop for node in nodes if node.kind != "Attention") / 1e12, 3
        ),
        "matrix_gflops": round(gflops, 1),
        "floor_s": round(floor_ms(nodes, gflops, gbs, 4) / 1e3, 2),
    }


def measure(form: str, unet: Path, repeats: int) -> dict[str, Any]:
    """Seconds of each step after the first, on the clock and of the processor (which do not depend
    on what else the machine does), and the seconds until the network was loaded."""
    rng = np.random.default_rng(0)
    width = json.loads((unet / "config.json").read_text())["cross_attention_dim"]
    feed = {
        "sample": rng.standard_normal((BATCH, 4, LATENT, LATENT)).astype(np.float32),
        "timestep": np.asarray(500, np.float32),
        "encoder_hidden_states": rng.standard_normal((BATCH, TOKENS, width)).astype(np.float32),
    }
    started = time.perf_counter()
    step = OPEN[form](unet)
    loaded = time.perf_counter() - started
    times, processor = [], []
    for _ in range(repeats + 1):
        started, used = time.perf_counter(), time.process_time()
        out = step(feed)
        times.append(round(time.perf_counter() - started, 3))
        processor.append(round(time.process_time() - used, 3))
    told: dict[str, Any] = {
        "load_s": round(loaded, 2),
        "step_s": times[1:],
        "step_cpu_s": processor[1:],
    }
    name = hashlib.sha256(str(unet.resolve()).encode()).hexdigest()[:16]
    reference = Path(tempfile.gettempdir()) / f"unet-step-{name}"
    if form == "torch":
        np.save(reference, out)
    elif reference.with_suffix(".npy").exists():
        truth = np.load(reference.with_suffix(".npy"))
        error = np.sqrt(((out - truth) ** 2).mean() / (truth**2).mean())
        told["relative_error"] = float(f"{error:.2e}")
    return told


def open_torch(unet: Path, *, half: bool) -> Callable[[Feed], Any]:
    import diffusers
    import torch

    torch.set_num_threads(usable_cores())
    dtype = torch.bfloat16 if half else torch.float32
    model = diffusers.UNet2DConditionModel.from_pretrained(unet, torch_dtype=dtype)

    @torch.inference_mode()
    def step(feed: Feed) -> Any:
        x, t, context = (torch.from_numpy(value) for value in feed.values())
        return model(x.to(dtype), t, context.to(dtype)).sample.float().numpy()

    return step


def open_ours(unet: Path, device: str, precision: str) -> Callable[[Feed], Any]:
    bundle = open_bundle(unet.parent)
    session = open_session(bundle, unet.name, choose(bundle, device, precision))
    return lambda feed: session.run(feed)["out_sample"]


OPEN: dict[str, Callable[[Path], Callable[[Feed], Any]]] = {
    "torch": partial(open_torch, half=False),
    "torch-bf16": partial(open_torch, half=True),
    "onnxruntime": partial(open_ours, device="cpu", precision="f32"),
    "openvino": partial(open_ours, device="openvino", precision="f32"),
    "openvino-bf16": partial(open_ours, device="openvino", precision="bf16"),
    "openvino-int8": partial(open_ours, device="openvino", precision="int8"),
}


if __name__ == "__main__":
    main()
