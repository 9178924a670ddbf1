"""A bundle whose four engines do next to nothing and weigh 64 MiB each, and a process that
measures what a run of it keeps in memory.

    python -m tests.runtime.heavy BUNDLE        prints peaks in MiB, as JSON
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

SIDE = 4096
WEIGHT = SIDE * SIDE * 4 / 2**20
"""MiB of one engine's large matrix."""


def make_heavy(output: Path) -> Path:
    """Write the bundle to `output`: the micro one's graphs, each with the matrix behind it."""
    import numpy as np
    from onnx import helper
    from tests.bundle import micro
    from tests.doubles import engines

    from overpaint.bundle.format.manifest_file import parse

    rng = np.random.default_rng(0)

    def weight(*shape: int) -> Any:
        return rng.standard_normal(shape, np.float32)

    def weighed(nodes: list[Any], channels: int, averaged: list[int]) -> dict[str, Any]:
        """Add to what `nodes` put out its mean over the axes `averaged`, through the matrix."""
        out = nodes[-1].output[0]
        nodes[-1].output[0] = "light"
        nodes += [
            helper.make_node("Constant", [], ["averaged"], value_ints=averaged),
            helper.make_node("ReduceMean", ["light", "averaged"], ["mean"], keepdims=0),
            helper.make_node("MatMul", ["mean", "widen"], ["wide"]),
            helper.make_node("MatMul", ["wide", "matrix"], ["turned"]),
            helper.make_node("MatMul", ["turned", "narrow"], ["narrowed"]),
            helper.make_node("Unsqueeze", ["narrowed", "averaged"], ["heavy"]),
            helper.make_node("Add", ["light", "heavy"], [out]),
        ]
        matrix = weight(SIDE, SIDE) / SIDE
        return {"widen": weight(channels, SIDE), "matrix": matrix, "narrow": weight(SIDE, channels)}

    width = micro.WIDTH
    parts = {
        "text_encoder": (micro._text_encoder(), {"embedding": weight(100, width)}, width, [1]),
        "vae_encoder": (micro._vae_encoder(), {"encode": weight(8, 3, 8, 8) / 20}, 8, [2, 3]),
        "unet": (micro._unet(), {"mix": weight(4, 4, 1, 1), "text": weight(width, 4)}, 4, [2, 3]),
        "vae_decoder": (micro._vae_decoder(), {"decode": weight(4, 3, 8, 8) / 20}, 3, [2, 3]),
    }
    engines.fake_bundle(output)  # its tokenizer and its scheduler
    with micro.new_bundle(output.with_name("made")) as folder:
        micro.write_files(folder)
        for name in ("tokenizer/tokenizer.json", "scheduler/scheduler_config.json"):
            (output / name).replace(folder / name)
        for name, (graph, weights, channels, averaged) in parts.items():
            for file in (folder / name).iterdir():
                file.unlink()
            weights |= weighed(graph[0], channels, averaged)
            micro.write_component(folder / name, *graph, weights)
        told = micro.good()
        told["text"]["encoders"][0]["pad_token_id"] = 0
        micro.finish_bundle(folder, parse(json.dumps(told).encode()))
    return output.with_name("made")


def main(bundle: str) -> None:
    from PIL import Image

    from overpaint.bundle.format.open import open_bundle
    from overpaint.engines.choose import open_session
    from overpaint.runtime import Img2Img

    picture = Image.new("RGB", (64, 64), "teal")

    def run(*, low_memory: bool) -> None:
        with Img2Img.open(bundle, device="cpu", low_memory=low_memory) as pipe:
            pipe(picture, "red", negative_prompt="blue", steps=2, strength=1.0, seed=0)

    def one_engine() -> None:
        open_session(open_bundle(bundle), "unet", "cpu").close()

    one_engine()  # what is loaded once, of ONNX Runtime and of us, is loaded now
    run(low_memory=True)
    peaks = {
        "one engine": _peak(one_engine),
        "low memory": _peak(lambda: run(low_memory=True)),
        "usual": _peak(lambda: run(low_memory=False)),
    }
    print(json.dumps(peaks))


def _peak(act: Any) -> float:
    """How many MiB the process grew at most while it acted, by the kernel's own count."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew at what is resident
    before = _resident("VmRSS")
    act()
    return _resident("VmHWM") - before


def _resident(counter: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    [line] = [line for line in lines if line.startswith(counter)]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main(sys.argv[1])
