"""The picture of docs/masks.md: the sky of the example is repainted, and the mountains stay.

python bench/studies/masks_figure.py docs/pictures/mask.png
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from overpaint.runtime import Img2Img

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "summer.png"
PROMPT: Final = "a sunset sky"
SUN: Final = 22, 62
HALO: Final = 27
"""Where the sun stands in the example, and how far it shines, in pixels."""

SCALE: Final = 2
GAP: Final = 8


def sky(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """(H,W): from the top of each column down to the first mountain; sun and halo are sky."""
    colours = picture.astype(int)
    rows, columns = np.indices(picture.shape[:2])
    halo = np.hypot(rows - SUN[0], columns - SUN[1]) < HALO
    ground = (colours[..., 2] - colours[..., 0] < 70) & ~halo
    above: npt.NDArray[np.bool_] = np.cumsum(ground, axis=0) == 0
    return above


def main() -> None:
    picture = Image.open(EXAMPLE).convert("RGB")
    mask = sky(np.asarray(picture))
    with Img2Img.open() as pipe:
        painted = pipe(picture, PROMPT, mask=mask, strength=0.9, seed=1).images[0]
    changed = (np.asarray(painted) != np.asarray(picture)).any(axis=2)
    inside, outside = changed[mask].mean(), changed[~mask].sum()
    sys.stdout.write(f"changed inside: {inside:.1%}; outside: {outside} pixels\n")
    three = [picture, Image.fromarray(mask).convert("RGB"), painted]
    width, height = (SCALE * side for side in picture.size)
    row = Image.new("RGB", (3 * width + 2 * GAP, height), "white")
    for i, one in enumerate(three):
        row.paste(one.resize((width, height), Image.Resampling.NEAREST), (i * (width + GAP), 0))
    row.save(sys.argv[1])


if __name__ == "__main__":
    main()
