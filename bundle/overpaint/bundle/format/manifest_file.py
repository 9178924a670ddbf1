"""Reading and writing `overpaint.json`. What comes in is checked whole before anybody sees it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from overpaint.bundle.errors import ManifestError, one_line
from overpaint.bundle.files.json import LARGEST_CONFIG, parse_json
from overpaint.bundle.installed import upgrade_command
from overpaint.bundle.layout import MANIFEST
from overpaint.bundle.schema_errors import explain

from .manifest import FORMAT, VERSION, Manifest
from .rules import problems


def read_manifest(folder: str | os.PathLike[str]) -> Manifest:
    """Read and check a bundle's manifest.

    Raises:
        ManifestError: it is absent, not JSON, of another version, breaks the schema, or
            contradicts itself; the message names the file and the field.
    """
    return _checked(load(folder), str(Path(folder, MANIFEST)))


def load(folder: str | os.PathLike[str]) -> Manifest:
    """Read a bundle's manifest against the schema alone, as `parse` does.

    Raises:
        ManifestError: it is absent, not JSON, of another version, or breaks the schema.
    """
    path = Path(folder, MANIFEST)
    try:
        if path.is_symlink():
            raise ManifestError(f"{path}: is a symbolic link; a bundle holds its own files")
        with path.open("rb") as file:
            data = file.read(LARGEST_CONFIG + 1)
    except FileNotFoundError:
        raise ManifestError(
            f"{path}: missing; a bundle made by overpaint export or overpaint import has it"
        ) from None
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from error
    return parse(data, where=str(path))


def decode(data: bytes, where: str = MANIFEST) -> Manifest:
    """Decode and check a manifest; `where` is its name in messages.

    Raises:
        ManifestError: as `read_manifest`.
    """
    return _checked(parse(data, where), where)


def parse(data: bytes, where: str = MANIFEST) -> Manifest:
    """Decode a manifest against the schema alone: its fields may still contradict each other.

    Raises:
        ManifestError: it is not JSON, of another version, or breaks the schema.
    """
    raw = _json(data, where)
    _check_version(raw, where)
    try:
        return msgspec.convert(raw, Manifest)
    except msgspec.ValidationError as error:
        message = one_line(explain(raw, Manifest) or str(error))
        raise ManifestError(
            f"{where}: {message}. The bundle is damaged or was edited by hand: mend the field, "
            "or make the bundle anew with overpaint export or import"
        ) from None


def encode(manifest: Manifest) -> bytes:
    """Encode a manifest as indented JSON: a file that people read too."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def write_manifest(folder: str | os.PathLike[str], manifest: Manifest) -> None:
    """Check a manifest and write it whole or not at all (beside, then renamed).

    Raises:
        ManifestError: the manifest contradicts itself; nothing is written.
    """
    data = encode(manifest)
    path = Path(folder, MANIFEST)
    decode(data, where=str(path))
    beside = path.with_name(f".{MANIFEST}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _checked(manifest: Manifest, where: str) -> Manifest:
    wrong = list(problems(manifest))
    if wrong:
        more = f" (and {len(wrong) - 1} more: see overpaint verify)" if len(wrong) > 1 else ""
        raise ManifestError(f"{where}: {one_line(wrong[0])}{more}")
    return manifest


def _json(data: bytes, where: str) -> dict[str, Any]:
    if len(data) > LARGEST_CONFIG:
        raise ManifestError(f"{where}: larger than {LARGEST_CONFIG >> 20} MB; that is no manifest")
    try:
        raw = msgspec.json.decode(data)  # which takes no infinity
        parse_json(data)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ManifestError(
            f"{where}: expected JSON, got {len(data)} bytes that are not "
            f"({one_line(str(error))}). "
            "Copy the bundle again, or make it anew with overpaint export or import"
        ) from None
    if not isinstance(raw, dict):
        raise ManifestError(f"{where}: expected a JSON object, got {type(raw).__name__}")
    return raw


def _check_version(raw: dict[str, Any], where: str) -> None:
    if raw.get("format") != FORMAT:
        raise ManifestError(
            f"{where}: format: expected {FORMAT!r}, got {raw.get('format')!r}; "
            "this file is not an overpaint manifest"
        )
    version = raw.get("version")
    if type(version) is not int or version < 1:
        raise ManifestError(f"{where}: version: expected {VERSION}, got {version!r}")
    if version > VERSION:
        raise ManifestError(
            f"{where}: version: this bundle has format version {version}, and this overpaint "
            f"reads version {VERSION}. Upgrade it with: {upgrade_command()}"
        )
