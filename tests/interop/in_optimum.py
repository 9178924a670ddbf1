"""What the tests ask of the real optimum, run by the interpreter of an environment of its own.

in_optimum.py publish CHECKPOINT OUTPUT    save it again with the older transformers and diffusers
in_optimum.py export CHECKPOINT OUTPUT     as optimum-cli export onnx does
in_optimum.py paint JOBS                   a JSON list; see `paint`
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def publish(checkpoint: str, output: str) -> None:
    """The tokenizers above all: transformers 5 writes configs that transformers 4 cannot read."""
    import diffusers
    import transformers

    tokenizers: dict[str, Any] = {}
    for folder in sorted(Path(checkpoint).glob("tokenizer*")):
        config = json.loads((folder / "tokenizer_config.json").read_text())
        if (folder / "vocab.json").is_file():
            tokenizers[folder.name] = transformers.CLIPTokenizer(
                str(folder / "vocab.json"),
                str(folder / "merges.txt"),
                pad_token=config["pad_token"],
                model_max_length=77,
            )
        else:
            tokenizers[folder.name] = transformers.T5TokenizerFast(
                tokenizer_file=str(folder / "tokenizer.json"), model_max_length=512
            )
    absent = dict.fromkeys(tokenizers)
    pipe = diffusers.DiffusionPipeline.from_pretrained(checkpoint, **absent)
    pipe.register_modules(**tokenizers)
    pipe.save_pretrained(output)


def export(checkpoint: str, output: str) -> None:
    from optimum.exporters.onnx import main_export

    main_export(
        checkpoint, output, task="image-to-image", do_validation=False, no_post_process=True
    )


def paint(jobs: str) -> None:
    """Each job: folder, pipeline, image (null: text to image), output, seed, options."""
    import optimum.onnxruntime
    import torch
    from PIL import Image

    for job in json.loads(jobs):
        pipe = getattr(optimum.onnxruntime, job["pipeline"]).from_pretrained(job["folder"])
        pipe.set_progress_bar_config(disable=True)
        options = dict(job["options"])
        if job["image"] is not None:
            options["image"] = Image.open(job["image"]).convert("RGB")
        generator = torch.Generator().manual_seed(job["seed"])
        pipe(generator=generator, **options).images[0].save(job["output"])


if __name__ == "__main__":
    {"publish": publish, "export": export, "paint": paint}[sys.argv[1]](*sys.argv[2:])
