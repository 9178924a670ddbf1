"""`overpaint watch`: pictures that come to a folder are repainted as they come."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import typer

from overpaint.bundle.errors import OverpaintError, UsageError
from overpaint.runtime.settings import Settings

from .flags import with_settings
from .options import BundleOption, DeviceOption, LoraOption

EXAMPLES = """**Examples**

`overpaint watch scans/ "a watercolour" -o painted/ --strength 0.4`

`overpaint watch inbox/ "winter" -o painted/ --bundle bundles/sd15 --tile auto`
"""

LOOK_SECONDS: Final = 0.5


@with_settings
def watch(
    folder: Annotated[Path, typer.Argument(metavar="IN", help="The folder that pictures come to.")],
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What they become.")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="A folder.")],
    bundle: BundleOption = None,
    lora: LoraOption = None,
    device: DeviceOption = "auto",
    settings: Settings,
) -> None:
    """Repaint each picture that comes to a folder, once it is written whole, until Ctrl-C.

    A picture is whole when two looks find it the same. What has its painting in OUT already is left
    alone, so that a watch that was stopped goes on. One that cannot be read is told, and tried
    again when it changes.
    """
    from dataclasses import replace

    from overpaint.bundle.files.looking import is_folder
    from overpaint.runtime.pipeline import Img2Img
    from overpaint.runtime.resolved import random_seed

    if not is_folder(folder):
        raise UsageError(f"{folder}: expected a folder to watch")
    if output.resolve() == folder.resolve():
        raise UsageError(f"--output {output}: expected another folder than the one that is watched")
    if settings.pictures != 1:
        raise UsageError("-n: a watched picture becomes one painting; leave it out")
    if settings.seed is None:
        settings = replace(settings, seed=random_seed())
    with Img2Img.open(bundle, lora=lora or (), device=device) as pipe:
        typer.echo(f"overpaint: watching {folder}; Ctrl-C ends it", err=True)
        for picture in arriving(folder, output):
            try:
                _paint(pipe, picture, prompt, settings, painting_of(picture, output))
            except OverpaintError as error:
                typer.echo(f"overpaint: {picture}: {error}", err=True)


def arriving(folder: Path, output: Path) -> Iterator[Path]:
    """Pictures of `folder` that have no painting in `output`, each once it was the same for two
    looks, and again when it changed. Never ends."""
    seen: dict[Path, tuple[int, int]] = {}
    done: dict[Path, tuple[int, int]] = {}
    while True:
        now = dict(_there(folder))
        whole = [path for path, what in now.items() if seen.get(path) == what != done.get(path)]
        seen = now
        for path in sorted(whole):
            done[path] = now[path]
            if not painting_of(path, output).exists():
                yield path
        time.sleep(LOOK_SECONDS)


def painting_of(picture: Path, output: Path) -> Path:
    """Where a picture's painting goes: a.png and a.jpg go to two."""
    stem = picture.stem if picture.suffix.lower() == ".png" else picture.name.replace(".", "-")
    return output / f"{stem}.png"


def _there(folder: Path) -> Iterator[tuple[Path, tuple[int, int]]]:
    """The pictures in a folder, each with its size and when it was last written."""
    from .work import PICTURES

    try:
        for path in folder.iterdir():
            if path.suffix.lower() in PICTURES and not path.name.startswith("."):
                status = path.stat()
                if status.st_size:
                    yield path, (status.st_size, status.st_mtime_ns)
    except FileNotFoundError:  # gone between two looks
        return
    except OSError as error:
        raise OverpaintError(f"{folder}: cannot be read: {error.strerror or error}") from None


def _paint(pipe: object, picture: Path, prompt: str, settings: Settings, to: Path) -> None:
    from overpaint.runtime.pipeline import Img2Img
    from overpaint.runtime.request import Request
    from overpaint.runtime.result import Complete

    from .output import write
    from .progress import progress_bar

    assert isinstance(pipe, Img2Img)
    with progress_bar(picture.name) as advance:
        for event in pipe.events(Request(picture, prompt, settings)):
            if isinstance(event, Complete):
                write(event.result.images[0], to, force=False)
                typer.echo(f"{to}  seed {event.result.seeds[0]}")
            else:
                advance(event.index, event.total)
