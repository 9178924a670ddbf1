# ruff: noqa: T201
"""What is around the engines: is it worth hiding? Figures for docs/cuda.md, on the embedded model.

    python bench/studies/latency_around.py [--size 128x96] [--rounds 15]

- text and image encoding one after the other, against both at once in two threads
- the first run of a pipeline against later ones: what a warm-up would save
- handing a call to another thread and back, which is what the CUDA sessions do for each
- a picture to what the VAE takes, and what it gives to a picture
- drawing a step's noise, which samplers that want it do between two calls of the denoiser

Medians of wall time; run it on an idle machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from PIL import Image

from overpaint.bundle import layout
from overpaint.bundle.format.open import open_bundle
from overpaint.cli.sizes import parse_size
from overpaint.engines.choose import open_session
from overpaint.engines.onnxruntime.cuda.thread import on_cuda_thread
from overpaint.engines.session.session import Session
from overpaint.runtime import Img2Img
from overpaint.runtime.choices import RNGS
from overpaint.runtime.default_bundle import bundle_or_default
from overpaint.runtime.image import from_pixels, to_pixels
from overpaint.runtime.noise import generator

PHOTO = Path(__file__).parents[2] / "examples" / "summer.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="128x96", help="%(default)s")
    parser.add_argument("--rounds", type=int, default=15)
    chosen = parser.parse_args()
    size = parse_size(chosen.size)
    encoding(size, chosen.rounds)
    warm_up(size, min(chosen.rounds, 7))
    hand_over(chosen.rounds)
    pictures(chosen.rounds)
    noise(size, chosen.rounds)


def encoding(size: tuple[int, int], rounds: int) -> None:
    """Both prompts' text, then the image; or the text in a second thread beside the image."""
    bundle = open_bundle(bundle_or_default(None))
    text, image = open_session(bundle, "text_encoder"), open_session(bundle, layout.VAE_ENCODER)
    [ids] = text.inputs.values()
    tokens = {ids.name: np.zeros((1, bundle.manifest.text.encoders[0].length), np.int64)}
    pixels = {"sample": np.zeros((1, 3, size[1], size[0]), np.float32)}

    def words(session: Session = text) -> None:
        session.run(tokens)
        session.run(tokens)

    def one_after_the_other() -> None:
        words()
        image.run(pixels)

    with ThreadPoolExecutor(1) as pool:

        def at_once() -> None:
            beside = pool.submit(words)
            image.run(pixels)
            beside.result()

        told("text, both prompts", timed(words, rounds))
        told("image", timed(lambda: image.run(pixels), rounds))
        told("one after the other", timed(one_after_the_other, rounds))
        told("both at once", timed(at_once, rounds))


def warm_up(size: tuple[int, int], rounds: int) -> None:
    """Engines are open in both: what differs is only what a first run alone has to do."""
    first: list[float] = []
    later: list[float] = []
    for i in range(rounds):
        with Img2Img.open(device="cpu").wait() as pipe:
            for times in (first, later):
                start = perf_counter()
                pipe(PHOTO, f"winter {i} {len(times)}", size=size, steps=4, seed=1)
                times.append(perf_counter() - start)
    told("first run of a pipeline", median(first))
    told("second run", median(later))


def hand_over(rounds: int) -> None:
    def calls() -> None:
        for _ in range(1000):
            on_cuda_thread(int)

    told("a thousand hand-overs", timed(calls, rounds))


def pictures(rounds: int) -> None:
    for side in (512, 1024):
        noisy = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
        picture = Image.fromarray(noisy)
        pixels = to_pixels(picture)
        told(f"picture to array, {side}x{side}", timed(lambda: to_pixels(picture), rounds))  # noqa: B023
        told(f"array to picture, {side}x{side}", timed(lambda: from_pixels(pixels), rounds))  # noqa: B023


def noise(size: tuple[int, int], rounds: int) -> None:
    for shape in ((1, 4, size[1] // 8, size[0] // 8), (1, 4, 64, 64), (1, 16, 128, 128)):
        out = np.empty(shape, np.float32)
        for rng in RNGS:
            source = generator(rng, 0)
            name = f"noise {'x'.join(map(str, shape))}, {rng}"
            told(name, timed(lambda: source.fill(out), rounds * 10))  # noqa: B023 - used at once


def timed(work: Callable[[], object], rounds: int) -> float:
    work()
    times = []
    for _ in range(rounds):
        start = perf_counter()
        work()
        times.append(perf_counter() - start)
    return median(times)


def told(what: str, seconds: float) -> None:
    print(f"{what:34} {seconds * 1e3:9.3f} ms", flush=True)


if __name__ == "__main__":
    main()
