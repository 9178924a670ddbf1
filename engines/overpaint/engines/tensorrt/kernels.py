"""What TensorRT for RTX compiles for a card and a size, and keeps for the next start.

An engine comes without kernels for its card. They are compiled when a size runs for the first time,
in seconds, and lie in the user's cache folder from then on: a file for each component, card, driver
and version, with its SHA-256 in front, for it is code. TensorRT checks besides that it fits the
machine.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from overpaint.bundle.errors import SessionError
from overpaint.bundle.files.user_folders import cache_folder

from .loaded import LoadedPlan
from .logger import message_of

if TYPE_CHECKING:
    import tensorrt_rtx as trt

_LOG = logging.getLogger(__name__)
_HASH: Final = hashlib.sha256().digest_size


def kernels_file(key: Sequence[str]) -> Path | None:
    """Where the kernels for `key` are kept, which names all that they depend on; None: nowhere."""
    folder = cache_folder()
    if folder is None:
        return None
    name = hashlib.sha256("\n".join(key).encode()).hexdigest()[:32]
    return Path(folder) / "tensorrt-rtx" / f"{name}.kernels"


class Kernels:
    """An engine's execution contexts, and the kernels that they share."""

    _config: trt.IRuntimeConfig
    _cache: trt.IRuntimeCache

    def __init__(self, loaded: LoadedPlan, file: Path | None) -> None:
        """Raises SessionError: TensorRT gives no runtime configuration."""
        trt, self._engine, self._file = loaded.library.module, loaded.engine, file
        self._config = loaded.engine.create_runtime_config()
        if self._config is None:
            raise SessionError(f"{loaded.library} cannot be configured: {message_of(loaded.log)}")
        strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        self._config.set_execution_context_allocation_strategy(strategy)
        # At once: a graph recorded while kernels are still being compiled would keep the slow ones.
        eager = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        self._config.dynamic_shapes_kernel_specialization_strategy = eager
        self._cache = self._config.create_runtime_cache()
        self._kept = _read(file)
        if self._kept and not self._cache.deserialize(self._kept):
            self._kept = b""  # of another driver, say: TensorRT knows
        self._config.set_runtime_cache(self._cache)

    def new_context(self) -> trt.IExecutionContext | None:
        """A context whose activations lie where it is told to put them."""
        return self._engine.create_execution_context(self._config)

    def keep(self) -> None:
        """Write down what was compiled since; a folder that cannot be written to is no error."""
        compiled = bytes(self._cache.serialize())
        if self._file is None or compiled == self._kept:
            return
        try:
            _write(self._file, compiled)
        except OSError as error:
            _LOG.info("%s: kernels cannot be kept there: %s", self._file, error.strerror)
            return
        self._kept = compiled


def _read(file: Path | None) -> bytes:
    """What was kept, empty where there is nothing or it has changed since."""
    try:
        content = b"" if file is None else file.read_bytes()
    except OSError:
        return b""
    told, data = content[:_HASH], content[_HASH:]
    if content and hashlib.sha256(data).digest() != told:
        _LOG.warning("%s: changed since it was written; its kernels are compiled anew", file)
        return b""
    return data


def _write(file: Path, data: bytes) -> None:
    """Whole or not at all, and for this user alone."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(hashlib.sha256(data).digest() + data)
        os.replace(beside, file)
    except BaseException:
        os.unlink(beside)
        raise
