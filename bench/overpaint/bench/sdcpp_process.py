"""stable-diffusion.cpp as one contender: a rival without torch, on the checkpoint's own files.

    python sdcpp_process.py < a job, then commands       (the conversation of peer_process)

Run by its path, with the interpreter of an environment of its own. What it reads is a folder of
diffusers' with a UNet. Its convolutions are in float16 whatever is asked for, and it draws the
start's noise anew from the seed that the posterior's was drawn of: so it does not make our
picture.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, os.fspath(Path(__file__).parent))  # by its path it is part of no package
from peer_process import SCHEDULERS, STEP, Contender, serve

SAMPLERS = {"euler": "euler", "euler-a": "euler_a", "dpmpp-2m": "dpm++2m", "lcm": "lcm"}
"""Ours -> its own, where both evaluate the denoiser once a step."""


def load() -> Callable[[dict[str, Any]], Contender]:
    from importlib.metadata import version

    import numpy as np
    from PIL import Image
    from stable_diffusion_cpp import StableDiffusion

    def open_model(job: dict[str, Any]) -> Contender:
        if job["images"] != 1:
            raise ValueError("one picture at a time: it paints several one after the other")
        folder = Path(job["folder"])
        sampler = SAMPLERS[_sampler(folder, job["sampler"])]
        links = tempfile.TemporaryDirectory()
        model = StableDiffusion(
            model_path=_linked(folder, Path(links.name)),
            n_threads=job["threads"],
            wtype="f16",
            rng_type="cpu",  # torch's generator
            verbose=False,
        )
        with Image.open(job["image"]) as file:
            image = file.convert("RGB")
        run = min(int(job["steps"] * job["strength"]), job["steps"])
        clock: list[float] = []

        def note(step: int, steps: int, seconds: float) -> None:
            clock.append(time.perf_counter())

        def repaint(frame: Any) -> Any:
            clock.clear()
            try:
                [made] = model.generate_image(
                    prompt=job["prompt"],
                    init_image=frame,
                    width=frame.width,
                    height=frame.height,
                    cfg_scale=job["guidance_scale"],
                    sample_method=sampler,
                    sample_steps=job["steps"],
                    strength=(run - 0.5) / job["steps"],  # it runs one more than it is told
                    seed=job["seed"],
                    progress_callback=note,
                )
            except ValueError as error:  # all that it says is that a pointer is null
                raise ValueError("it does not run this network: SD 1, 2 and XL alone") from error
            return made

        def over(frames: Iterable[Any]) -> Iterator[Any]:
            yield from map(repaint, frames)

        def calls() -> list[float]:
            """The first of its reports is made before anything is computed."""
            return np.diff(clock).tolist()

        def did() -> dict[str, Any]:
            parts = (*_files(folder), "vae_encoder", "vae_decoder")
            return {
                "denoiser_calls": len(calls()),
                "guidance": job["guidance_scale"] > 1,
                "precision": dict.fromkeys((name for name in parts if name != "vae"), "float16"),
            }

        versions = {name: version(name) for name in ("stable-diffusion-cpp-python", "numpy")}
        return Contender(lambda: [repaint(image)], over, lambda: {STEP: calls()}, did, versions)

    return open_model


def _sampler(folder: Path, asked: str) -> str:
    """Ours, by name; of "default" the one that the checkpoint's scheduler is.

    Raises:
        ValueError: it has no such sampler.
    """
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    own = {name: ours for ours, (name, _) in SCHEDULERS.items()}
    sampler = own.get(config["_class_name"]) if asked == "default" else asked
    if sampler not in SAMPLERS:
        which = config["_class_name"] if asked == "default" else asked
        raise ValueError(f"it does not sample as {which}; --sampler {', '.join(SAMPLERS)}")
    return str(sampler)


def _files(folder: Path) -> dict[str, Path]:
    """Networks and their weights; a bundle has the one VAE in both of its folders."""
    found = {path.parent.name: path for path in sorted(folder.glob("*/*.safetensors"))}
    decoder = found.pop("vae_decoder", None)
    found.pop("vae_encoder", None)
    return found | ({"vae": decoder} if decoder else {})


def _linked(folder: Path, links: Path) -> str:
    """A folder that has them under the names by which it looks for them."""
    for name, path in _files(folder).items():
        (links / name).mkdir()
        own = "model" if name.startswith("text_encoder") else "diffusion_pytorch_model"
        (links / name / f"{own}.safetensors").symlink_to(path.resolve())
    return os.fspath(links)


if __name__ == "__main__":
    serve(load)
