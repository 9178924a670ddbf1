"""Whether denoising several pictures together pays: python -m tests.serve.batching BUNDLE.

Prints CPU and wall seconds a picture for 1, 2, 4 and 8 pictures in one batch. Jobs of different
clients could be put into one batch only at the price of waiting for each other, so the seconds of
one picture must fall for it to be worth that.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from overpaint.runtime import Img2Img, Settings

SIDE = 256
REPEATS = 3


def main(bundle: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    picture = Image.fromarray(noise)
    with Img2Img.open(bundle).wait() as pipeline:
        for n in (1, 2, 4, 8):
            settings = Settings(n=n, seed=1, strength=0.6, steps=20)
            pipeline.run(picture, "warm", settings)
            wall, cpu = [], []
            for _ in range(REPEATS):
                began, spent = time.perf_counter(), time.process_time()
                pipeline.run(picture, "winter mountains at night", settings)
                wall.append((time.perf_counter() - began) / n)
                cpu.append((time.process_time() - spent) / n)
            print(f"batch {n}: {min(cpu):.3f} s CPU and {min(wall):.3f} s a picture")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
