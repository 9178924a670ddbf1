"""What the tests ask of the real optimum, run by the interpreter of an environment of its own.

in_optimum.py paint FOLDER PIPELINE PICTURE OUTPUT JSON     (the call's arguments, and "seed")
"""

from __future__ import annotations

import json
import sys


def paint(folder: str, pipeline: str, picture: str, output: str, options: str) -> None:
    import optimum.onnxruntime
    import torch
    from PIL import Image

    asked = json.loads(options)
    generator = torch.Generator().manual_seed(asked.pop("seed"))
    pipe = getattr(optimum.onnxruntime, pipeline).from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    image = Image.open(picture).convert("RGB")
    pipe(image=image, generator=generator, **asked).images[0].save(output)


if __name__ == "__main__":
    {"paint": paint}[sys.argv[1]](*sys.argv[2:])
