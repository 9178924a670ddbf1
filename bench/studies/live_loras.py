# ruff: noqa: T201
"""What LoRAs that turn cost: a step with 0, 1 and 3 of them beside the fused form.

    python bench/studies/live_loras.py --output bench/results/live-loras-2-cores.json
    python bench/studies/live_loras.py --engine openvino --output …
    python bench/studies/live_loras.py /tmp/wide --wide --output …          # makes the bundle first
    python bench/studies/live_loras.py bundles/sd15 --rank 32 --size 512

LoRAs are made of random factors for every linear layer and convolution of the UNet (or, with
--attention, for attention's projections alone, as most training scripts have it). Each form is a
process of its own. Steps of all forms take turns, `--rounds` times, and CPU seconds stand beside
the clock's: they do not depend on what else the machine does. `opening` is what it takes to make
the bundle with branches, and to open it. `--wide` makes a UNet of Stable Diffusion 1.5's widths on
its two upper levels, with random weights (350 MB); it needs torch.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import to_builtins

from overpaint.bench.machine import this_machine
from overpaint.bundle.checkpoint.safetensors import ToWrite, of_array, write_safetensors
from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.graph.weights import slots, unbind
from overpaint.bundle.lora.branches import SCALE
from overpaint.bundle.lora.file import LoraChoice
from overpaint.bundle.lora.fuse import fuse_loras
from overpaint.bundle.lora.live import hash_of, live_loras
from overpaint.engines.choose import open_session
from overpaint.runtime.default_bundle import EMBEDDED

FORMS = ("base", "fused", "live-1-at-0", "live-1", "live-3")
ENGINES = ("cpu", "openvino")
BATCH = 2
ATTENTION = ("to_q.weight", "to_k.weight", "to_v.weight", "to_out.0.weight")

Array = np.ndarray[Any, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("bundle", type=Path, nargs="?", default=EMBEDDED)
    parser.add_argument("--wide", action="store_true", help="make the bundle, where it is not")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--size", type=int, default=256, help="of the picture, in pixels")
    parser.add_argument("--attention", action="store_true")
    parser.add_argument("--engine", choices=ENGINES, default="cpu")
    parser.add_argument("--forms", default=",".join(FORMS), help="which, the base first")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--measure", help="measure one bundle in this process")
    asked = parser.parse_args()
    if asked.measure:
        serve(json.loads(asked.measure))
        return
    if asked.wide and not asked.bundle.exists():
        make_wide(asked.bundle)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        report = study(asked, Path(folder))
    if asked.output:
        known = json.loads(asked.output.read_text()) if asked.output.exists() else {"studies": []}
        known["studies"].append(report)
        asked.output.write_text(json.dumps(known, indent=1) + "\n")


def study(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    base = open_bundle(asked.bundle)
    loras = [
        write_lora(asked.bundle, folder / f"{i}.safetensors", asked.rank, i, asked.attention)
        for i in range(3)
    ]
    making, bundles = {}, {"base": asked.bundle}
    for form, some in {"live-1": loras[:1], "live-3": loras}.items():
        started, used = time.perf_counter(), time.process_time()
        bundles[form] = live_loras(base, {hash_of(file): file for file in some})
        making[form] = spent(started, used)
    bundles["live-1-at-0"] = bundles["live-1"]
    started, used = time.perf_counter(), time.process_time()
    fuse_loras(base, folder / "fused", [LoraChoice(loras[0])])
    making["fused"] = spent(started, used)
    bundles["fused"] = folder / "fused"
    report: dict[str, Any] = {
        "bundle": "wide" if asked.wide else base.manifest.name,
        "weights_mb": round(sum(f.size for f in base.manifest.files.values() if f.weights) / 1e6),
        "lora_mb": round(loras[0].stat().st_size / 1e6, 1),
        "rank": asked.rank,
        "layers": "attention" if asked.attention else "all",
        "size": asked.size,
        "batch": BATCH,
        "rounds": asked.rounds,
        "machine": to_builtins(this_machine()),
        "making": making,
    }
    report["engine"], report["forms"] = asked.engine, compare(bundles, asked)
    for form, one in report["forms"].items():
        print(f"{report['bundle']:10} {asked.engine:9} {form:12} {one}", flush=True)
    return report


def spent(started: float, used: float) -> dict[str, float]:
    wall, cpu = time.perf_counter() - started, time.process_time() - used
    return {"s": round(wall, 2), "cpu_s": round(cpu, 2)}


def compare(bundles: dict[str, Path], asked: argparse.Namespace) -> dict[str, Any]:
    """Each form in a process, their steps in turn; medians, and the median of the quotients of
    CPU seconds against the base's step of the same round."""
    running, forms = {}, asked.forms.split(",")
    for form in forms:
        order = {"bundle": str(bundles[form]), "engine": asked.engine, "size": asked.size}
        order["scale"] = 0.0 if form.endswith("at-0") else 0.7
        command = [sys.executable, __file__, "--measure", json.dumps(order)]
        running[form] = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    opened = {form: answer(process) for form, process in running.items()}
    steps: dict[str, list[dict[str, float]]] = {form: [] for form in forms}
    for _ in range(asked.rounds):
        for form, process in running.items():
            assert process.stdin
            process.stdin.write("step\n")
            process.stdin.flush()
            steps[form].append(answer(process))
    for process in running.values():
        assert process.stdin
        process.stdin.close()
        process.wait()
    base = [one["cpu_ms"] for one in steps["base"]]
    return {
        form: {
            **opened[form],
            "step_ms": median([one["ms"] for one in steps[form]]),
            "step_cpu_ms": median([one["cpu_ms"] for one in steps[form]]),
            "of_base": median(
                [one["cpu_ms"] / b for one, b in zip(steps[form], base, strict=True)], 3
            ),
        }
        for form in forms
    }


def median(values: Sequence[float], digits: int = 1) -> float:
    return round(statistics.median(values), digits)


def answer(process: subprocess.Popen[str]) -> dict[str, float]:
    assert process.stdout
    told: dict[str, float] = json.loads(process.stdout.readline())
    return told


def serve(order: dict[str, Any]) -> None:
    """Open the UNet, tell what that took, and make a step for each line that is read."""
    started, used = time.perf_counter(), time.process_time()
    session = open_session(open_bundle(order["bundle"]), "unet", order["engine"])
    opened = spent(started, used)
    rng, side = np.random.default_rng(0), order["size"] // 8
    sizes = {"batch": BATCH, "latent_height": side, "latent_width": side, "tokens": 77}
    feed: dict[str, Array] = {}
    for name, tensor in session.inputs.items():
        shape = tuple(sizes[one] if isinstance(one, str) else one for one in tensor.shape)
        feed[name] = rng.standard_normal(shape).astype(tensor.dtype)
    feed["timestep"] = np.full_like(feed["timestep"], 500)
    if SCALE in feed:
        feed[SCALE][:] = order["scale"]
    for _ in range(2):
        session.run(feed)
    print(
        json.dumps({"open_s": opened["s"], "open_cpu_s": opened["cpu_s"], **memory()}), flush=True
    )
    for _ in sys.stdin:
        started, used = time.perf_counter(), time.process_time()
        session.run(feed)
        wall, cpu = time.perf_counter() - started, time.process_time() - used
        print(json.dumps({"ms": wall * 1e3, "cpu_ms": cpu * 1e3}), flush=True)


def memory() -> dict[str, float]:
    lines = Path("/proc/self/status").read_text().splitlines()
    kilobytes = next(line for line in lines if line.startswith("VmRSS")).split()[1]
    return {"rss_mb": round(int(kilobytes) * 1024 / 1e6)}


def write_lora(bundle: Path, path: Path, rank: int, seed: int, attention: bool) -> Path:
    """Random factors in float16, as most files have them."""
    rng = np.random.default_rng(seed)
    tensors: dict[str, ToWrite] = {}
    weights = slots(unbind((bundle / "unet" / "model.onnx").read_bytes())[0])
    for name, one in weights.items():
        if not name.endswith(".weight") or len(one.shape) not in (2, 4):
            continue
        if attention and not name.endswith(ATTENTION):
            continue
        out, into, *kernel = one.shape
        module = "lora_unet_" + name.removesuffix(".weight").replace(".", "_")
        down = rng.standard_normal((rank, into, *kernel)) / np.sqrt(np.prod([into, *kernel]))
        up = rng.standard_normal((out, rank, *[1] * len(kernel))) * 0.01
        tensors[f"{module}.lora_down.weight"] = of_array(down.astype(np.float16))
        tensors[f"{module}.lora_up.weight"] = of_array(up.astype(np.float16))
    write_safetensors(path, tensors)
    return path


def make_wide(bundle: Path) -> None:
    """A bundle whose UNet has Stable Diffusion 1.5's widths, 320 and 640, on two levels."""
    import shutil

    import diffusers
    import torch
    import transformers

    from overpaint.export.bundle import export_checkpoint

    torch.manual_seed(0)
    vae = diffusers.AutoencoderKL(
        block_out_channels=(32,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=8,
    )
    unet = diffusers.UNet2DConditionModel(
        block_out_channels=(320, 640),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=768,
        attention_head_dim=8,
        sample_size=64,
    )
    told = json.loads((EMBEDDED / "text_encoder" / "config.json").read_text())
    told |= {"hidden_size": 768, "num_attention_heads": 12, "max_position_embeddings": 77}
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder, "checkpoint")
        tokenizer = transformers.CLIPTokenizer.from_pretrained(EMBEDDED / "tokenizer")
        diffusers.StableDiffusionPipeline(
            vae=vae,
            unet=unet,
            text_encoder=transformers.CLIPTextModel(transformers.CLIPTextConfig(**told)),
            tokenizer=tokenizer,
            scheduler=diffusers.PNDMScheduler(skip_prk_steps=True),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        ).save_pretrained(checkpoint)
        shutil.rmtree(checkpoint / "tokenizer")
        shutil.copytree(EMBEDDED / "tokenizer", checkpoint / "tokenizer")
        export_checkpoint(checkpoint, bundle)


if __name__ == "__main__":
    main()
