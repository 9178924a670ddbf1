"""LoRA files by name: those of a folder, and those that come with the embedded model."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from overpaint.bundle.errors import UsageError
from overpaint.bundle.files.looking import is_folder

EMBEDDED_LORAS: Final = Path(__file__).parent.parent / "embedded_loras"
SUFFIX: Final = ".safetensors"


def loras_in(folder: Path | None, *, embedded: bool) -> dict[str, Path]:
    """Every LoRA that can be named, sorted. `embedded`: those of the embedded model as well, of
    which one in `folder` with the same name is taken.

    Raises:
        UsageError: `folder` is none.
    """
    if folder is not None and not is_folder(folder):
        raise UsageError(f"--lora-folder: expected a folder of LoRAs, got {folder}")
    folders = [EMBEDDED_LORAS] if embedded else []
    folders += [folder] if folder is not None else []
    found = {
        file.stem: file for each in folders for file in each.glob(f"*{SUFFIX}") if file.is_file()
    }
    return dict(sorted(found.items()))


def lora_file(name: Path, folder: Path | None, *, embedded: bool) -> Path:
    """The file behind `name`, which is a file's own or, without a suffix and a folder, one of
    `loras_in`.

    Raises:
        UsageError: nothing is called so.
    """
    if name.suffix == SUFFIX or name.parent != Path() or name.is_file():
        return name
    known = loras_in(folder, embedded=embedded)
    if name.name in known:
        return known[name.name]
    raise unknown(name.name, known)


def unknown(name: str, known: dict[str, Path]) -> UsageError:
    """The error that says which LoRAs there are."""
    there = f"there are {', '.join(known)}" if known else "there is none"
    return UsageError(
        f"lora: {name!r} is no LoRA that is known here; {there}. Name a .safetensors file, or a "
        "folder of them with --lora-folder"
    )
