"""`overpaint run --control`: the networks that are named, and what each is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from overpaint.bundle.errors import UsageError
from overpaint.bundle.files.looking import is_folder
from overpaint.runtime.control.control import Control
from overpaint.runtime.control.opening import network_folder, network_name
from overpaint.runtime.image import read

T = TypeVar("T")
_NUMBERS: Final = ("scale", "start", "end", "preprocessor", "kind")


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """Folders of control networks, and by their names what they are shown."""

    folders: tuple[Path, ...] = ()
    shown: Mapping[str, Control]
    files: tuple[Path, ...] = ()

    def asked(self) -> list[dict[str, Any]]:
        """Whatever of it decides about the pixels, for a folder run's record."""
        return [
            {
                "name": name,
                "picture": None if one.picture is None else read(one.picture).sha256,
                **{number: getattr(one, number) for number in _NUMBERS},
            }
            for name, one in self.shown.items()
        ]


def read_controls(
    control: Sequence[str],
    scale: Sequence[float],
    start: Sequence[float],
    end: Sequence[float],
    made: Sequence[str],
    kind: Sequence[int],
) -> Controls:
    """What was typed: each `control` is FOLDER or FOLDER=PICTURE; of the others one value for all,
    or one for each in their order. Raises UsageError, ImageError."""
    n = len(control)
    scales = _each("--control-scale", scale, n, 1.0)
    starts, ends = _each("--control-start", start, n, 0.0), _each("--control-end", end, n, 1.0)
    froms, kinds = _each("--control-from", made, n, "map"), _each("--control-kind", kind, n, None)
    shown: dict[str, Control] = {}
    folders, files = [], []
    for at, text in enumerate(control):
        folder, picture = _split(text)
        name = network_name(folder)
        if name in shown:
            raise UsageError(f"--control: two networks are called {name}; rename one's folder")
        folders.append(folder)
        files += [] if picture is None else [picture]
        shown[name] = Control(
            None if picture is None else read(picture).image,
            scale=scales[at],
            start=starts[at],
            end=ends[at],
            preprocessor=froms[at],
            kind=kinds[at],
        )
    return Controls(folders=tuple(folders), shown=shown, files=tuple(files))


def _split(text: str) -> tuple[Path, Path | None]:
    """FOLDER=PICTURE, where a folder's name may have a = in it."""
    if is_folder(Path(text)) or "=" not in text:
        return network_folder(text), None
    parts = text.split("=")
    for at in range(len(parts) - 1, 0, -1):
        folder = network_folder("=".join(parts[:at]))
        if is_folder(folder):
            return folder, Path("=".join(parts[at:]))
    raise UsageError(
        f"--control: expected FOLDER or FOLDER=PICTURE, got {text!r}: there is no folder {parts[0]}"
    )


def _each(option: str, given: Sequence[Any], n: int, default: T) -> list[T]:
    """A value for each of n networks."""
    if given and not n:
        raise UsageError(f"{option}: there is no control; name one with --control, or leave it out")
    if len(given) not in (0, 1, n):
        raise UsageError(f"{option}: expected one value, or one for each of {n}; got {len(given)}")
    values = list(given) or [default]
    return values if len(values) == n else values * n
