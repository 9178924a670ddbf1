"""Reading and writing `overpaint.json`. What comes in is checked whole before anybody sees it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

from overpaint.bundle.errors import ManifestError, one_line
from overpaint.bundle.files.json import LARGEST_CONFIG, parse_json
from overpaint.bundle.installed import upgrade_command
from overpaint.bundle.layout import MANIFEST
from overpaint.bundle.schema_errors import explain

from . import adapter, controlnet, rules
from .adapter import IpAdapter
from .controlnet import ControlNet
from .manifest import FORMAT, VERSION, Manifest

AnyManifest: TypeAlias = Manifest | IpAdapter | ControlNet
"""A bundle's, or that of an IP-Adapter or a control network."""


def read_manifest(folder: str | os.PathLike[str]) -> Manifest:
    """Read and check a bundle's manifest.

    Raises:
        ManifestError: it is absent, not JSON, of another version, breaks the schema, or
            contradicts itself; the message names the file and the field.
    """
    data, where = _read(folder)
    return _checked(parse(data, where), where)


def read_adapter(folder: str | os.PathLike[str]) -> IpAdapter:
    """Read and check the manifest of an IP-Adapter.

    Raises:
        ManifestError: as `read_manifest`; or it is another's.
    """
    data, where = _read(folder)
    found = _checked(parse_any(data, where), where)
    if not isinstance(found, IpAdapter):
        raise ManifestError(
            f"{where}: expected an IP-Adapter, got {found.name}, which is none. Make one of an "
            "adapter's folder or file with overpaint import"
        )
    return found


def read_controlnet(folder: str | os.PathLike[str], name: str = MANIFEST) -> ControlNet:
    """Read and check a control network's manifest, the file `name` of `folder`.

    Raises:
        ManifestError: as `read_manifest`; or it is another's.
    """
    data, where = _read(folder, name)
    found = _checked(parse_any(data, where), where)
    if not isinstance(found, ControlNet):
        raise ManifestError(
            f"{where}: expected a control network, got {found.name}, which is none. "
            "Make one of a ControlNet's folder or file with overpaint export or overpaint import"
        )
    return found


def read_any(folder: str | os.PathLike[str]) -> AnyManifest:
    """Read and check whichever manifest a folder has.

    Raises:
        ManifestError: as `read_manifest`.
    """
    data, where = _read(folder)
    return _checked(parse_any(data, where), where)


def load(folder: str | os.PathLike[str]) -> AnyManifest:
    """Read a folder's manifest against its schema alone, as `parse_any` does.

    Raises:
        ManifestError: it is absent, not JSON, of another version, or breaks the schema.
    """
    return parse_any(*_read(folder))


def _read(folder: str | os.PathLike[str], name: str = MANIFEST) -> tuple[bytes, str]:
    """A manifest's bytes, and what it is called in messages."""
    path = Path(folder, name)
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
    return data, str(path)


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
    found = parse_any(data, where)
    if isinstance(found, IpAdapter):
        raise ManifestError(
            f"{where}: is an IP-Adapter ({found.name}), which runs beside a bundle: name the "
            "bundle with --bundle, and this folder with --ip-adapter"
        )
    if isinstance(found, ControlNet):
        raise ManifestError(
            f"{where}: is a control network ({found.name}), which runs beside a bundle: name the "
            "bundle with --bundle, and this folder with --control"
        )
    return found


def parse_any(data: bytes, where: str = MANIFEST) -> AnyManifest:
    """Decode a manifest of either kind, as its `format` says, against its schema alone.

    Raises:
        ManifestError: as `parse`.
    """
    raw = _json(data, where)
    kind = _KINDS[_check_version(raw, where)]
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        message = one_line(explain(raw, kind) or str(error))
        raise ManifestError(
            f"{where}: {message}. The bundle is damaged or was edited by hand: mend the field, "
            "or make the bundle anew with overpaint export or import"
        ) from None


def encode(manifest: AnyManifest) -> bytes:
    """Encode a manifest as indented JSON: a file that people read too."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def write_manifest(folder: str | os.PathLike[str], manifest: AnyManifest) -> None:
    """Check a manifest and write it whole or not at all (beside, then renamed).

    Raises:
        ManifestError: the manifest contradicts itself; nothing is written.
    """
    data = encode(manifest)
    path = Path(folder, MANIFEST)
    _checked(parse_any(data, str(path)), str(path))
    beside = path.with_name(f".{MANIFEST}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


_KINDS: Final[dict[str, type[AnyManifest]]] = {
    FORMAT: Manifest,
    adapter.FORMAT: IpAdapter,
    controlnet.FORMAT: ControlNet,
}
_Read = TypeVar("_Read", bound=AnyManifest)


def problems(manifest: AnyManifest) -> Iterator[str]:
    """What contradicts itself in a manifest of either kind, each as one line."""
    if isinstance(manifest, IpAdapter):
        yield from rules.file_problems(manifest.files)
        yield from adapter.problems(manifest)
    elif isinstance(manifest, ControlNet):
        yield from rules.file_problems(manifest.files)
        yield from controlnet.problems(manifest)
    else:
        yield from rules.problems(manifest)


def _checked(manifest: _Read, where: str) -> _Read:
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


def _check_version(raw: dict[str, Any], where: str) -> str:
    """The format that it is of."""
    kind = raw.get("format")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ManifestError(
            f"{where}: format: expected {FORMAT!r}, got {kind!r}; "
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
    return kind
