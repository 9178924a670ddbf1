"""`python -m pocket.pictures`: the example and every picture of the documentation, from the
bundle that ships: the input and three repaintings that keep its outlines, strength by prompt, a
denoising as it runs, and a drawing that is repainted as it is drawn."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from overpaint.runtime import Control, Img2Img, Step
from pocket import drawing
from pocket.painter import paint
from pocket.scene import HELD_OUT, Scene

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs" / "pictures"
EXAMPLES = ROOT / "examples"
EXAMPLE = Scene(
    season="summer",
    time="noon",
    land="mountains",
    thing="house",
    style="poster",
    seed=HELD_OUT + 5003,
)
PROMPTS = (
    "winter mountains at night",
    "autumn mountains at sunset",
    "desert mountains at noon",
    "summer mountains with a lake, watercolour",
)
KEPT = (
    "autumn mountains at noon, with a house",
    "summer mountains at sunset, with a house",
    "summer mountains at night, with a house",
)
STRENGTHS = (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 1.0)
SEED = 7
DRAWING = 48
"""Frames of the drawing."""
GAP = 4
WHITE = 255

Picture = NDArray[np.uint8]


def main() -> None:
    DOCS.mkdir(parents=True, exist_ok=True)
    EXAMPLES.mkdir(parents=True, exist_ok=True)
    summer = paint(EXAMPLE)
    Image.fromarray(summer).save(EXAMPLES / "summer.png")
    with Img2Img.open(control=["edges"]) as pipe:
        save("before-after", row([summer, *(kept(pipe, summer, p) for p in KEPT)]), 2)
    with Img2Img.open() as pipe:
        save("strength", strength_grid(pipe, summer), 1.5)
        frames = denoising(pipe, summer, "winter mountains at night, watercolour")
        drawn = drawn_live(pipe, "autumn mountains at sunset, a house, flat poster")
    save("denoising", row([*frames[:: max(1, len(frames) // 6)], frames[-1]]), 1.5)
    save_gif("denoising", frames, 2)
    save_gif("drawing", drawn, 2, milliseconds=80)


def repaint(pipe: Img2Img, picture: Picture, prompt: str, strength: float | None = None) -> Picture:
    """One repainting at the bundle's own defaults."""
    image = Image.fromarray(picture)
    return np.asarray(pipe(image, prompt, strength=strength, seed=SEED).images[0].convert("RGB"))


def kept(pipe: Img2Img, picture: Picture, prompt: str) -> Picture:
    """One repainting whose outlines the embedded control network keeps."""
    control = {"edges": Control(preprocessor="canny")}
    made = pipe(Image.fromarray(picture), prompt, strength=0.5, seed=SEED, control=control)
    return np.asarray(made.images[0].convert("RGB"))


def strength_grid(pipe: Img2Img, picture: Picture) -> Picture:
    """A row for each prompt, a column for each strength, the input before them."""
    return column(
        [
            row([picture, *(repaint(pipe, picture, prompt, s) for s in STRENGTHS)])
            for prompt in PROMPTS
        ]
    )


def denoising(pipe: Img2Img, picture: Picture, prompt: str) -> list[Picture]:
    """What the model believes after each step, and the finished picture."""
    frames = []
    for event in pipe.stream(Image.fromarray(picture), prompt, strength=0.9, steps=20, seed=SEED):
        image = event.preview() if isinstance(event, Step) else event.result.images[0]
        size = picture.shape[1], picture.shape[0]
        frames.append(np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC)))
    return frames


def drawn_live(pipe: Img2Img, prompt: str) -> list[Picture]:
    """A drawing as it is drawn, and beside each moment what a live run makes of it."""
    with pipe.live(prompt, strength=0.5, steps=2, seed=1) as live:
        return [
            row([np.asarray(sheet), np.asarray(live(sheet).convert("RGB"))])
            for sheet in drawing.frames(DRAWING)
        ]


def row(pictures: list[Picture]) -> Picture:
    """Side by side with a white gap."""
    gap = np.full((pictures[0].shape[0], GAP, 3), WHITE, np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)][1:]
    return np.concatenate(parts, axis=1)


def column(pictures: list[Picture]) -> Picture:
    """One under the other with a white gap."""
    gap = np.full((GAP, pictures[0].shape[1], 3), WHITE, np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)][1:]
    return np.concatenate(parts, axis=0)


def save(name: str, picture: Picture, scale: float) -> None:
    """docs/pictures/<name>.png, enlarged: 128 pixels are few on today's screens."""
    enlarged(picture, scale).save(DOCS / f"{name}.png", optimize=True)


def save_gif(name: str, frames: list[Picture], scale: float, *, milliseconds: int = 220) -> None:
    """docs/pictures/<name>.gif; it rests on the finished picture."""
    images = [enlarged(frame, scale) for frame in frames]
    times = [milliseconds] * (len(images) - 1) + [2500]
    images[0].save(
        DOCS / f"{name}.gif", save_all=True, append_images=images[1:], duration=times, loop=0
    )


def enlarged(picture: Picture, scale: float) -> Image.Image:
    """The picture `scale` times as large."""
    size = round(picture.shape[1] * scale), round(picture.shape[0] * scale)
    return Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
