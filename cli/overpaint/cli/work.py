"""What `overpaint run` was told to read, and where each picture goes: decided before any work."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final

from overpaint.bundle.errors import ImageError, UsageError
from overpaint.scale.places import (
    identity,
    is_folder,
    is_remote,
    is_there,
    open_remote,
    place,
    told,
)

from .output import STANDARD
from .record import RECORD
from .rows import Row

PICTURES: Final = (
    *(".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"),
    *(".avif", ".heic", ".heif"),
)
WRITABLE: Final = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True, slots=True)
class Task:
    """One picture to repaint (None: text to image), and a file for each image made of it."""

    image: Path | None
    outputs: tuple[Path, ...]

    @property
    def name(self) -> str:
        """What messages call it."""
        return "<stdin>" if self.image == STANDARD else str(self.image)

    @property
    def source(self) -> Path | BinaryIO | None:
        """Where the picture is read from. Raises ImageError where a store does not give it."""
        if self.image is not None and is_remote(self.image):
            return _downloaded(self.image)
        return sys.stdin.buffer if self.image == STANDARD else self.image


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What the words on the command line ask for.

    `images`: the pictures to repaint; None alone is text to image. `from_folder`: whether a folder
    was among the words. `rows`: of a file of prompts, one for each picture, whose prompts count
    then. `passed_over`: what lies in the folders and is no picture by its name.
    """

    images: tuple[Path | None, ...]
    prompt: str
    rows: tuple[Row, ...] = ()
    from_folder: bool = False
    passed_over: tuple[Path, ...] = ()

    @property
    def several(self) -> bool:
        """Whether it is a folder's work, even if only one picture lies in the folder."""
        return self.from_folder or bool(self.rows) or len(self.images) > 1


def read_arguments(arguments: Sequence[str], *, text_to_image: bool) -> Work:
    """IMAGE... PROMPT -> Work. A folder stands for the pictures directly in it."""
    *images, prompt = arguments
    if text_to_image:
        if images:
            raise UsageError(
                f"--text-to-image: expected the prompt alone, got {len(images)} argument(s) more; "
                "put a prompt of several words in quotes"
            )
        return Work(images=(None,), prompt=prompt)
    if not images:
        raise UsageError(
            f"expected IMAGE... PROMPT, got only {prompt!r}; name a picture before the prompt, or "
            "add --text-to-image"
        )
    if os.path.isfile(prompt) or (Path(prompt).suffix.lower() in PICTURES and " " not in prompt):
        raise UsageError(
            f"expected the prompt as the last argument, and {prompt!r} looks like a picture"
        )
    if images.count("-") > 1:
        raise UsageError("-: stdin is one picture, and was named twice")
    paths = [named(image, "IMAGE") for image in images]
    found = [_look_into(path) if is_folder(path) else ([path], []) for path in paths]
    return Work(
        images=tuple(picture for pictures, _ in found for picture in pictures),
        prompt=prompt,
        from_folder=any(is_folder(path) for path in paths),
        passed_over=tuple(other for _, others in found for other in others),
    )


def work_of_rows(rows: Sequence[Row], arguments: Sequence[str]) -> Work:
    """What a file of prompts asks for, which names the pictures itself."""
    if arguments:
        raise UsageError(
            f"--prompts: its rows name pictures and prompts; leave {arguments[0]!r} out"
        )
    return Work(images=tuple(row.image for row in rows), prompt="", rows=tuple(rows))


def without(work: Work, paintings: Collection[Path]) -> Work:
    """`work` without what an earlier run painted into the folder that it reads."""
    if work.rows:
        return work  # which names its pictures
    made = {identity(path) for path in paintings}
    images = (image for image in work.images if image is None or identity(image) not in made)
    return replace(work, images=tuple(images))


def named(text: str, what: str) -> Path:
    """The path or URL that `text` is. An empty one would be the current folder, which nobody
    meant."""
    if not text.strip():
        raise UsageError(f"{what}: expected a path, got an empty argument; is a variable not set?")
    return place(text)


def pictures_in(folder: Path) -> list[Path]:
    """The pictures directly in a folder, by name. Raises UsageError where there are none."""
    return _look_into(folder)[0]


def _look_into(folder: Path) -> tuple[list[Path], list[Path]]:
    """The pictures in a folder, and what else is there; hidden files and our own are not told."""
    pictures, others = [], []
    try:
        with told(folder):
            found = sorted(folder.iterdir())
    except OSError as error:
        raise ImageError(f"{folder}: cannot be read: {error.strerror or error}") from None
    for path in found:
        if path.suffix.lower() in PICTURES and (is_remote(path) or path.is_file()):
            pictures.append(path)
        elif not path.name.startswith(".") and path.name != RECORD:
            others.append(path)
    if not pictures:
        raise UsageError(f"{folder}: expected pictures in this folder, found none")
    return pictures, others


def plan_outputs(
    work: Work, seeds: Sequence[int], output: Path, *, also_read: Sequence[Path] = ()
) -> tuple[Task, ...]:
    """A file for every image: `output` itself for one, files in the folder `output` for more.

    None is one of the pictures, or of what is `also_read`. Raises UsageError.
    """
    images, count = work.images, len(work.images) * len(seeds)
    if output == STANDARD:
        if count > 1 or work.from_folder:
            raise UsageError("--output -: stdout takes one picture; name a folder for several")
        return (Task(images[0], (output,)),)
    if count == 1 and not work.from_folder and not work.rows and not _is_folder(output):
        if output.suffix.lower() not in WRITABLE:
            raise UsageError(
                f"--output {output}: expected a file that ends in {', '.join(WRITABLE)}"
            )
        tasks = [Task(images[0], (output,))]
    else:
        if output.suffix.lower() in WRITABLE and not is_folder(output):
            raise UsageError(
                f"--output {output}: expected a folder for {count} pictures, got a file's name"
            )
        stems = _unique([_stem(image) for image in images])
        tasks = [
            Task(image, tuple(output / _name(stem, seed, len(seeds)) for seed in seeds))
            for image, stem in zip(images, stems, strict=True)
        ]
    outputs = [path for task in tasks for path in task.outputs]
    _refuse_inputs([*images, *also_read], outputs)
    for folder in {path.parent for path in outputs if not is_remote(path)}:
        _refuse_unwritable(folder)
    return tuple(tasks)


def _downloaded(image: Path) -> BinaryIO:
    try:
        return open_remote(image)
    except OSError as error:
        raise ImageError(f"{image}: cannot be read ({error.strerror or error})") from None


def _refuse_inputs(images: Sequence[Path | None], outputs: Sequence[Path]) -> None:
    """What is read is never written, by whatever name: a link, or another case of its letters."""
    read = {_file(image): image for image in images if image not in (None, STANDARD)}
    for path in outputs:
        file = _file(path)
        if file is not None and (image := read.get(file)):
            raise UsageError(
                f"{path}: would be written over {image}, which is to be read; nothing that is read "
                "is overwritten, so choose another --output"
            )


def _file(path: Path) -> tuple[int, int] | str | None:
    """What file a path leads to; None where there is none yet."""
    if is_remote(path):
        return identity(path)
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _refuse_unwritable(folder: Path) -> None:
    """Better now than after minutes of painting."""
    there = next(one for one in (folder.absolute(), *folder.absolute().parents) if is_there(one))
    if not is_folder(there):
        raise UsageError(f"{folder}: cannot be written: {there} is not a folder")
    if not os.access(there, os.W_OK):
        raise UsageError(f"{folder}: cannot be written: no permission to write in {there}")


def _is_folder(output: Path) -> bool:
    return is_folder(output) or not output.suffix


def _stem(image: Path | None) -> str:
    if image is None:
        return "painting"
    return "stdin" if image == STANDARD else image.stem


def _name(stem: str, seed: int, n: int) -> str:
    return f"{stem}.png" if n == 1 else f"{stem}-{seed}.png"


def _unique(stems: list[str]) -> list[str]:
    """a, b, A -> a, b, A-2: apart also on a disk that sees no difference between a and A."""
    taken: set[str] = set()
    names = []
    for stem in stems:
        name, i = stem, 2
        while _folded(name) in taken:
            name, i = f"{stem}-{i}", i + 1
        taken.add(_folded(name))
        names.append(name)
    return names


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
