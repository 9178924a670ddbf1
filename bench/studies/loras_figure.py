"""A row of pictures for docs/lora.md: one LoRA, turned from -1 to 1.5 on one set of engines.

python bench/studies/loras_figure.py ink docs/pictures/lora.png       # one of the embedded model's
python bench/studies/loras_figure.py ink.safetensors row.png "winter mountains"
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from PIL import Image

from overpaint.runtime import Img2Img

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "summer.png"
PROMPT: Final = "summer mountains at noon, a house"
WEIGHTS: Final = (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5)
GAP: Final = 4


def main() -> None:
    lora, output, *prompt = sys.argv[1:]
    painted = []
    with Img2Img.open(lora={"turned": lora}, lora_mode="live") as pipe:
        for weight in WEIGHTS:
            asked = {"turned": weight}
            result = pipe(EXAMPLE, *(prompt or [PROMPT]), lora=asked, strength=0.4, seed=7)
            painted.append(result.images[0])
    width, height = painted[0].size
    row = Image.new("RGB", (len(painted) * (width + GAP) - GAP, height), "white")
    for i, one in enumerate(painted):
        row.paste(one, (i * (width + GAP), 0))
    row.save(output)


if __name__ == "__main__":
    main()
