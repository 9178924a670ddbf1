"""A contender for the tests, as the real ones talk: fake_contender.py NAME LOG PICTURE [CHANGES]

PICTURE: "same" saves the input, "other" its negative, "missing" lacks a module, "dies" is gone.
LOG gets a line for each painting. CHANGES: JSON that goes over what it says that it did.
"""

from __future__ import annotations

import json
import sys

from PIL import Image, ImageOps

from overpaint.bench.peer_process import Contender, serve

name, log, picture, changes = *sys.argv[1:4], json.loads((sys.argv[4:] or ["{}"])[0])


def load():  # type: ignore[no-untyped-def]
    if picture == "missing":
        raise ModuleNotFoundError("No module named 'torch'", name="torch")
    if picture == "dies":
        sys.exit("out of memory")
    return opened


def opened(job):  # type: ignore[no-untyped-def]
    image = Image.open(job["image"]).convert("RGB")

    def paint() -> list[Image.Image]:
        with open(log, "a") as file:
            file.write(f"{name}\n")
        print("libraries like to print")
        return [ImageOps.invert(image) if picture == "other" else image]

    precision = dict.fromkeys(("text_encoder", "unet", "vae_encoder", "vae_decoder"), "float32")
    did = {"denoiser_calls": 3, "guidance": True, "precision": precision, **changes}
    return Contender(paint, lambda frames: iter(frames), lambda: {"decode": [0.0]}, lambda: did, {})


serve(load)
