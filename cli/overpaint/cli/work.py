"""What `overpaint run` was told to read, and where each picture goes: decided before any work."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from overpaint.bundle.errors import ImageError, OutputExistsError, UsageError
from overpaint.bundle.files.looking import is_folder, is_there

PICTURES: Final = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
WRITABLE: Final = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True, slots=True)
class Task:
    """One picture to repaint (None: text to image), and a file for each image made of it."""

    image: Path | None
    outputs: tuple[Path, ...]


def split_arguments(
    arguments: Sequence[str], *, text_to_image: bool
) -> tuple[tuple[Path | None, ...], str]:
    """IMAGE... PROMPT -> (pictures, prompt). A folder stands for the pictures directly in it."""
    *images, prompt = arguments
    if text_to_image:
        if images:
            raise UsageError(
                f"--text-to-image: expected the prompt alone, got {len(images)} argument(s) more; "
                "put a prompt of several words in quotes"
            )
        return (None,), prompt
    if not images:
        raise UsageError(
            f"expected IMAGE... PROMPT, got only {prompt!r}; name a picture before the prompt, or "
            "add --text-to-image"
        )
    if os.path.isfile(prompt) or (Path(prompt).suffix.lower() in PICTURES and " " not in prompt):
        raise UsageError(
            f"expected the prompt as the last argument, and {prompt!r} looks like a picture"
        )
    return tuple(path for image in images for path in _expand(Path(image))), prompt


def _expand(path: Path) -> list[Path]:
    if not is_folder(path):
        return [path]
    try:
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURES and p.is_file())
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror}") from None
    if not found:
        raise UsageError(f"{path}: expected pictures in this folder, found none")
    return found


def plan_outputs(
    images: Sequence[Path | None],
    seeds: Sequence[int],
    output: Path,
    *,
    force: bool,
    into_folder: bool,
) -> tuple[Task, ...]:
    """A file for every image: `output` itself for one, files in the folder `output` for more.

    `into_folder` makes `output` a folder even for a single one: it came from a folder.
    """
    if len(images) * len(seeds) == 1 and not into_folder and not _is_folder(output):
        if output.suffix.lower() not in WRITABLE:
            raise UsageError(
                f"--output {output}: expected a file that ends in {', '.join(WRITABLE)}"
            )
        tasks = [Task(images[0], (output,))]
    else:
        if output.suffix.lower() in WRITABLE and not is_folder(output):
            raise UsageError(
                f"--output {output}: expected a folder for {len(images) * len(seeds)} pictures, "
                "got a file's name"
            )
        stems = _unique([image.stem if image else "painting" for image in images])
        tasks = [
            Task(image, tuple(output / _name(stem, seed, len(seeds)) for seed in seeds))
            for image, stem in zip(images, stems, strict=True)
        ]
    for path in (path for task in tasks for path in task.outputs):
        _refuse_unwritable(path)
        refuse_existing(path, force=force)
    return tuple(tasks)


def refuse_existing(path: Path, *, force: bool) -> None:
    if is_folder(path):
        raise OutputExistsError(f"{path}: expected a file to write, but a folder is there")
    if is_there(path) and not force:
        raise OutputExistsError(f"{path}: exists already; add --force to overwrite it")


def _refuse_unwritable(path: Path) -> None:
    """Better now than after minutes of painting."""
    folder = next(parent for parent in path.absolute().parents if is_there(parent))
    if not is_folder(folder):
        raise UsageError(f"{path}: cannot be written: {folder} is not a folder")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"{path}: cannot be written: no permission to write in {folder}")


def _is_folder(output: Path) -> bool:
    return is_folder(output) or not output.suffix


def _name(stem: str, seed: int, n: int) -> str:
    return f"{stem}.png" if n == 1 else f"{stem}-{seed}.png"


def _unique(stems: list[str]) -> list[str]:
    """a, b, a -> a, b, a-2."""
    taken: set[str] = set()
    names = []
    for stem in stems:
        name, i = stem, 2
        while name in taken:
            name, i = f"{stem}-{i}", i + 1
        taken.add(name)
        names.append(name)
    return names
