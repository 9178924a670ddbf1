"""What a large picture costs: peak memory and seconds of `--tile auto`, stage by stage.

python bench/studies/large_picture.py                                     # the embedded model
python bench/studies/large_picture.py --bundle bundles/sd15 --device openvino --precision bf16
python bench/studies/large_picture.py --size 2048x1536 --figure docs/pictures/large.png

Peaks are of the whole process. `anonymous` is memory that only the process has; what passes between
a VAE's parts lies in files of the temporary folder, whose pages the kernel may take back.
"""

from __future__ import annotations

import argparse
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Final, get_args

import numpy as np
from PIL import Image

from overpaint.engines.openvino.bf16 import Precision
from overpaint.runtime import Img2Img

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "summer.png"
PROMPT: Final = "winter mountains at night"


class Peak:
    """The most anonymous memory of this process, looked at ten times a second."""

    def __init__(self) -> None:
        self.bytes = 0
        self._over = threading.Event()
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while not self._over.wait(0.1):
            status = Path("/proc/self/status").read_text("utf-8")
            [line] = (one for one in status.splitlines() if one.startswith("RssAnon"))
            self.bytes = max(self.bytes, int(line.split()[1]) * 1024)

    def end(self) -> int:
        self._over.set()
        return self.bytes


def landscape(width: int, height: int) -> Image.Image:
    """The example, again and again and mirrored, so that a large picture has its detail."""
    tile = Image.open(EXAMPLE).convert("RGB").resize((256, 256), Image.Resampling.LANCZOS)
    row = np.concatenate([np.asarray(tile), np.asarray(tile)[:, ::-1]], axis=1)
    block = np.concatenate([row, row[::-1]], axis=0)
    times = -(-height // block.shape[0]), -(-width // block.shape[1]), 1
    return Image.fromarray(np.tile(block, times)[:height, :width])


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--bundle")
    asked.add_argument("--size", default="4000x3000")
    asked.add_argument("--strength", type=float, default=0.3)
    asked.add_argument("--steps", type=int)
    asked.add_argument("--device", default="auto")
    asked.add_argument("--precision", choices=get_args(Precision), default="f32")
    asked.add_argument("--tile", default="auto")
    asked.add_argument("--picture")
    asked.add_argument("--figure", help="where to save what was painted")
    given = asked.parse_args()
    width, height = map(int, given.size.split("x"))
    picture = Image.open(given.picture) if given.picture else landscape(width, height)
    peak, began = Peak(), time.process_time()
    with Img2Img.open(
        given.bundle, device=given.device, precision=given.precision, low_memory=True
    ) as pipe:
        result = pipe(
            picture,
            PROMPT,
            strength=given.strength,
            steps=given.steps,
            seed=7,
            tile=given.tile,
        )
    took = result.timings
    sys.stdout.write(
        f"{result.images[0].width}x{result.images[0].height}, {result.steps_run} steps" + "\n"
    )
    sys.stdout.write(
        f"encode {took.encode:.1f} s, denoise {took.denoise:.1f} s, decode {took.decode:.1f} s"
        + "\n"
    )
    sys.stdout.write(
        f"all {took.total:.1f} s, {time.process_time() - began:.1f} s of processors" + "\n"
    )
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sys.stdout.write(f"peak {most / 1e9:.2f} GB, anonymous {peak.end() / 1e9:.2f} GB" + "\n")
    if given.figure:
        result.images[0].save(given.figure)


if __name__ == "__main__":
    main()
