"""Where files lie: a local path, or a URL of whatever fsspec knows, with the face of a path.

s3://bucket/holiday, gs://…, https://…, memory://…; what each needs beside fsspec is the user's own:
s3fs, gcsfs, adlfs.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urlsplit
from urllib.request import url2pathname

from overpaint.bundle.errors import MissingExtraError, OverpaintError, UsageError
from overpaint.bundle.files import looking

if TYPE_CHECKING:
    from upath import UPath

_LOCAL: Final = ("file", "local")
_STORES: Final = frozenset(
    ("memory", "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", "hf")
)
"""Where a file is to be seen only when all of it is there."""


def place(text: str) -> Path:
    """The path that `text` names. A URL's has pathlib's surface and is no `pathlib.Path`
    (`is_remote`), but for file://, which is a local one.

    Raises:
        MissingExtraError: it is a URL, and universal_pathlib is not installed.
        UsageError: nothing here reads URLs of that kind.
    """
    if "://" not in text:
        return Path(text)
    parts = urlsplit(text)
    if parts.scheme in _LOCAL:
        return Path(url2pathname(parts.path))
    try:
        from upath import UPath
    except ImportError as error:
        raise MissingExtraError.told_by(error, "ray", "upath") from error
    try:
        remote = UPath(text)
        _ = remote.fs
    except (ImportError, ValueError) as error:
        raise UsageError(f"{text}: cannot be opened: {error}") from None
    return cast(Path, remote)


def is_remote(path: Path) -> bool:
    """Whether it is no file of this machine's own."""
    return not isinstance(path, Path)


def identity(path: Path) -> str:
    """The same for two spellings of one place."""
    return str(path) if is_remote(path) else os.path.abspath(path)


def is_there(path: Path) -> bool:
    """Whether anything has that name, be it a link that leads nowhere."""
    if not is_remote(path):
        return os.path.lexists(path)
    with told(path):
        return path.exists()


def is_folder(path: Path) -> bool:
    """Whether a folder lies there; of an object store's, one in which something lies."""
    if not is_remote(path):
        return looking.is_folder(path)
    with told(path):
        return path.is_dir()


def names_in(folder: Path) -> frozenset[str]:
    """The names of what lies in a folder, in one listing; none where there is no folder."""
    try:
        if not is_remote(folder):
            return frozenset(os.listdir(folder))
        with told(folder):
            return frozenset(path.name for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()


def put_remote(data: bytes | memoryview, path: Path, *, replace: bool) -> None:
    """Write a file whole: at once in a store of objects, else beside its place first.

    Raises FileExistsError, and OSError as fsspec has it.
    """
    remote = cast("UPath", path)
    with told(path):
        remote.fs.makedirs(remote.parent.path, exist_ok=True)
        if remote.protocol in _STORES:
            mode = "overwrite" if replace else "create"
            remote.fs.pipe_file(remote.path, bytes(data), mode=mode)
            return
        beside = remote.with_name(f".overpaint-{secrets.token_hex(8)}.part")
        remote.fs.pipe_file(beside.path, bytes(data))
        if not replace and remote.exists():
            beside.unlink()
            raise FileExistsError(errno.EEXIST, "exists already", str(path))
        remote.fs.mv(beside.path, remote.path)


def open_remote(path: Path) -> io.BytesIO:
    """All of a remote file; its `name` is the URL."""
    with told(path):
        return _Named(path.read_bytes(), str(path))


def fetch(path: Path, to: Path) -> None:
    """Copy a remote file to a local one. Raises OSError; what is there then may be a part."""
    remote = cast("UPath", path)
    with told(path):
        remote.fs.get_file(remote.path, str(to))


class _Named(io.BytesIO):
    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """What a store raises, which each does in its own words, as one line that names the path."""
    try:
        yield
    except (OSError, OverpaintError):
        raise
    except Exception as error:
        raise OverpaintError(f"{path}: {type(error).__name__}: {error}") from error
