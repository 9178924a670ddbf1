"""Repaint a picture and keep how it came about: the result, and its previews as an animation.

    python examples/watch.py photo.jpg "a watercolour" [BUNDLE]

Writes watched.png and watched.gif. Without BUNDLE it is the model inside the package.
"""

from __future__ import annotations

import sys

from PIL import Image

from overpaint.runtime import Complete, Img2Img


def watch(photo: str, prompt: str, bundle: str | None = None) -> None:
    frames: list[Image.Image] = []
    with Img2Img.open(bundle) as pipe:
        for event in pipe.stream(photo, prompt, strength=0.6, seed=7):
            if isinstance(event, Complete):
                [image] = event.result.images
                image.save("watched.png")
            else:
                frames.append(event.preview())
                print(f"step {event.index} of {event.total}", end="\r")
    frames = [frame.resize(image.size, Image.Resampling.BICUBIC) for frame in frames]
    finished: list[Image.Image] = [*frames, image]
    times = [150] * len(frames) + [1500]
    finished[0].save(
        "watched.gif", save_all=True, append_images=finished[1:], duration=times, loop=0
    )
    print(f"watched.png and watched.gif: {len(event.result.timings.steps)} steps")


if __name__ == "__main__":
    watch(*sys.argv[1:])
