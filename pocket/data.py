"""The painted data set: pictures in one memory-mapped file, captions drawn afresh when asked."""

from multiprocessing import Pool
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from rich.progress import track

from pocket.painter import SIZE, paint
from pocket.pairs import counterpart
from pocket.scene import random_scene

CHUNK = 64


def _paint_chunk(first: int) -> tuple[int, NDArray[np.uint8]]:
    return first, np.stack([paint(random_scene(first + k)) for k in range(CHUNK)])


def _paint_counterparts(first: int) -> tuple[int, NDArray[np.uint8]]:
    return first, np.stack([paint(counterpart(random_scene(first + k))) for k in range(CHUNK)])


def painted(
    folder: Path, count: int, workers: int, *, counterparts: bool = False
) -> NDArray[np.uint8]:
    """(count, 128, 128, 3) uint8, scene `i` (or its counterpart) in row `i`; painted once, then
    read from disk. `count` is rounded up to a multiple of 64.
    """
    count = -(-count // CHUNK) * CHUNK
    path = folder / f"{'counterparts' if counterparts else 'scenes'}-{count}.npy"
    chunk_of = _paint_counterparts if counterparts else _paint_chunk
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        pictures = open_memmap(part, mode="w+", dtype=np.uint8, shape=(count, SIZE, SIZE, 3))
        with Pool(workers) as pool:
            chunks = pool.imap_unordered(chunk_of, range(0, count, CHUNK))
            for first, chunk in track(chunks, "painting", total=count // CHUNK):
                pictures[first : first + CHUNK] = chunk
        pictures.flush()
        part.rename(path)
    stored: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return stored
