"""What was asked of a folder run, remembered beside its pictures, so that it can go on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Self

import msgspec

from overpaint.bundle.errors import OutputExistsError, OverpaintError, UsageError
from overpaint.bundle.format.manifest import Manifest
from overpaint.bundle.record import Record
from overpaint.scale.places import identity, told

from .output import save

RECORD: Final = "overpaint-run.json"


class FolderRun(Record, frozen=True, kw_only=True):
    """`asked`: by name, whatever decides about the pixels. `pictures`: for each output's name the
    picture it is painted from."""

    format: Literal["overpaint-run"] = "overpaint-run"
    version: Literal[1] = 1
    asked: dict[str, Any]
    pictures: dict[str, str]

    @classmethod
    def of(cls, asked: Mapping[str, Any], outputs: Mapping[Path, Path]) -> Self:
        """`outputs`: each file to write, and the picture that it is painted from."""
        return cls(
            asked=json.loads(json.dumps(asked)),
            pictures={path.name: identity(image) for path, image in outputs.items()},
        )

    def painted_by(self, engines: Mapping[str, Any]) -> Self:
        """This run, and what it is painted with."""
        return msgspec.structs.replace(self, asked=self.asked | dict(engines))

    @property
    def seed(self) -> int | None:
        """The first picture's."""
        seed = self.asked.get("seed")
        return seed if isinstance(seed, int) else None


def recall(folder: Path) -> FolderRun | None:
    """The run whose pictures `folder` holds, None where nothing was remembered."""
    path = folder / RECORD
    try:
        with told(path):
            data = path.read_bytes()
        return msgspec.json.decode(data, type=FolderRun)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise OverpaintError(
            f"{path}: cannot be read as what a run remembers ({error}); choose another "
            "--output, or add --force to begin anew there"
        ) from None


def remember(folder: Path, run: FolderRun, *, force: bool) -> None:
    """Write down in `folder` that its pictures are those of `run`.

    Raises UsageError where they are another's, unless `force` says that this no longer counts.
    """
    then = None if force else recall(folder)
    if then is not None:
        refuse_another(then, run, folder)
        run = FolderRun(asked=then.asked, pictures=then.pictures | run.pictures)
    if run == then:
        return
    data = msgspec.json.format(msgspec.json.encode(run), indent=2)
    try:
        save(data, folder / RECORD, force=force or then is not None)
    except OutputExistsError:  # another run began here in this very moment
        remember(folder, run, force=False)


def refuse_another(then: FolderRun, now: FolderRun, folder: Path) -> None:
    """Raise UsageError, which says what differs, unless both are the same run.

    What only one of them knows is not compared: before an engine is open no model is known.
    """
    if differences := [*_differences(then, now)]:
        raise UsageError(
            f"{folder}: holds the pictures of another run ({RECORD}): {'; '.join(differences)}; "
            "choose another --output, or add --force to paint there all the same"
        )


def refuse_strangers(
    then: FolderRun | None, outputs: Sequence[Path], there: Collection[str]
) -> None:
    """Raise OutputExistsError for a name that is `there` and that the run `then` did not paint."""
    for path in outputs:
        if path.name in there and (then is None or path.name not in then.pictures):
            raise OutputExistsError(
                f"{path}: exists already, and no {RECORD} beside it says that this run painted it; "
                "choose another --output, or say --force instead of --skip-existing"
            )


def model_name(manifest: Manifest) -> str:
    """The name of a bundle, and a few digits that stand for its graphs and weights."""
    graphs = {component.graph for component in manifest.components.values()}
    hashes = [
        f"{name} {file.sha256}"
        for name, file in sorted(manifest.files.items())
        if file.weights or name in graphs
    ]
    return f"{manifest.name} {hashlib.sha256(chr(10).join(hashes).encode()).hexdigest()[:16]}"


def _differences(then: FolderRun, now: FolderRun) -> Iterator[str]:
    for name in (name for name in then.asked if name in now.asked):
        if then.asked[name] != now.asked[name]:
            yield f"{name} was {_told(then.asked[name])} and is {_told(now.asked[name])}"
    for name in (name for name in then.pictures if name in now.pictures):
        if then.pictures[name] != now.pictures[name]:
            yield f"{name} was painted from {then.pictures[name]} and not {now.pictures[name]}"


def _told(value: Any) -> str:
    text = "not said" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:79]}…"
