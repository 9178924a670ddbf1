"""OpenVINO GenAI as one contender: a rival without torch, on models that were converted before.

    python genai_process.py < a job, then commands       (the conversation of peer_process)
    python genai_process.py convert CHECKPOINT FOLDER    (what its users do offline, with optimum)

Run by its path, with the interpreter of an environment of its own. It converts once, in a process
that ends before anything is measured, and keeps the result in the user's cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, os.fspath(Path(__file__).parent))  # by its path it is part of no package
from peer_process import SCHEDULERS, STEP, Contender, serve

DRAWN = 2**22
"""Numbers that are drawn beforehand: the posterior's, the start's, and the steps' that draw."""


def load() -> Callable[[dict[str, Any]], Contender]:
    from importlib.metadata import version

    import numpy as np
    import openvino
    import openvino_genai as genai
    from PIL import Image

    class Drawn(genai.Generator):  # type: ignore[misc]
        """What torch draws, drawn before: its own way to torch's numbers imports torch."""

        def __init__(self, numbers: Any) -> None:
            super().__init__()
            self._numbers, self._at = numbers, 0

        def randn_tensor(self, shape: Any) -> Any:
            size, at = int(np.prod(tuple(shape))), self._at
            self._at += size
            return openvino.Tensor(self._numbers[at : self._at].reshape(tuple(shape)).copy())

    def open_model(job: dict[str, Any]) -> Contender:
        if job["images"] != 1:
            raise ValueError("one picture at a time: several have one generator there")
        began = time.time()
        folder = _converted(Path(job["folder"]))
        numbers = np.load(_noise(folder, job["seed"]))
        job["asked"] += time.time() - began  # ours is converted before it is measured, too
        _schedule(folder, job["sampler"])
        hint = "bf16" if job["dtype"] == "bfloat16" else "f32"
        pipe = genai.Image2ImagePipeline(os.fspath(folder), "CPU", INFERENCE_PRECISION_HINT=hint)
        with Image.open(job["image"]) as file:
            image = file.convert("RGB")

        def repaint(frame: Any) -> Any:
            made = pipe.generate(
                job["prompt"],
                openvino.Tensor(np.asarray(frame)[None]),
                strength=job["strength"],
                num_inference_steps=job["steps"],
                guidance_scale=job["guidance_scale"],
                generator=Drawn(numbers),
            )
            return Image.fromarray(made.data[0])

        def over(frames: Iterable[Any]) -> Iterator[Any]:
            yield from map(repaint, frames)

        def calls() -> list[float]:
            raw = pipe.get_performance_metrics().raw_metrics
            spent = raw.unet_inference_durations or raw.transformer_inference_durations
            return [float(one) for one in spent]  # microseconds

        def stages() -> dict[str, list[float]]:
            told = pipe.get_performance_metrics()
            return {
                "text": [sum(told.get_text_encoder_infer_duration().values()) / 1e3],
                "encode": [told.get_vae_encoder_infer_duration() / 1e3],
                STEP: [one / 1e6 for one in calls()],
                "decode": [told.get_vae_decoder_infer_duration() / 1e3],
            }

        def did() -> dict[str, Any]:
            names = (path.parent.name for path in folder.glob("*/openvino_model.xml"))
            guided = job["guidance_scale"] > 1
            return {
                "denoiser_calls": len(calls()),
                "guidance": guided,
                "precision": dict.fromkeys(names, job["dtype"]),
            }

        names = ("openvino-genai", "openvino", "openvino-tokenizers", "numpy")
        versions = {name: version(name) for name in names}
        return Contender(lambda: [repaint(image)], over, stages, did, versions)

    return open_model


def _converted(checkpoint: Path) -> Path:
    """The checkpoint as OpenVINO's own files, made by optimum the first time."""
    parts = sorted(checkpoint.rglob("*.safetensors"))
    key = "\n".join(f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in parts)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "overpaint" / "genai" / hashlib.sha256(key.encode()).hexdigest()[:16]
    if not folder.is_dir():
        made = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(made, ignore_errors=True)
        command = [sys.executable, __file__, "convert", str(checkpoint), str(made)]
        done = subprocess.run(command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise ValueError(f"not converted: {done.stderr.strip().splitlines()[-1]}")
        made.rename(folder)
    return folder


def convert(checkpoint: Path, folder: Path) -> None:
    """With optimum, weights in float32, as its documentation has it."""
    from openvino import save_model
    from openvino_tokenizers import convert_tokenizer
    from optimum.exporters.openvino import main_export
    from transformers import AutoTokenizer

    main_export(checkpoint, folder, task="text-to-image", library_name="diffusers")
    for tokenizer in folder.glob("tokenizer*"):
        read = AutoTokenizer.from_pretrained(checkpoint / tokenizer.name)
        made = convert_tokenizer(read, with_detokenizer=False)
        save_model(made, tokenizer / "openvino_tokenizer.xml")
    shutil.copytree(checkpoint / "scheduler", folder / "scheduler-own")


def _noise(folder: Path, seed: int) -> Path:
    """Torch's normal numbers for a seed: diffusers' draws are consecutive parts of them."""
    kept = folder / f"noise-{seed}.npy"
    program = (
        "import sys, numpy, torch; generator = torch.Generator().manual_seed(int(sys.argv[1])); "
        f"numpy.save(sys.argv[2], torch.randn({DRAWN}, generator=generator).numpy())"
    )
    if not kept.is_file():
        subprocess.run([sys.executable, "-c", program, str(seed), str(kept)], check=True)
    return kept


def _schedule(folder: Path, sampler: str) -> None:
    """The checkpoint's own, or `sampler` with its numbers: GenAI reads a config's class alone."""
    own = json.loads((folder / "scheduler-own" / "scheduler_config.json").read_text())
    if sampler != "default":
        name, changes = SCHEDULERS[sampler]
        own |= {"_class_name": name, **changes}
    finite = {k: v for k, v in own.items() if v not in (float("inf"), -float("inf"))}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(finite))


if __name__ == "__main__":
    if sys.argv[1:2] == ["convert"]:
        convert(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        serve(load)
