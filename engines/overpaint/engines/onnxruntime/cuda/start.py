"""Can ONNX Runtime's CUDA provider run here? Tried, not guessed: it falls back without a word."""

from __future__ import annotations

import contextlib
import functools
import io
import re
from types import ModuleType
from typing import Final

from overpaint.bundle.errors import MissingExtraError, SessionError
from overpaint.bundle.installed import install_command
from overpaint.engines.host.nvidia import NoGpuError, gpu_name
from overpaint.engines.onnxruntime.library import (
    import_onnxruntime,
    message_of,
    providers,
    session_options,
    why_not,
)

from .options import CUDA, DEVICE
from .thread import on_cuda_thread

# An ONNX graph, y = x: whatever provider takes it has started.
_IDENTITY: Final = (
    b'\x08\x08:9\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x01gZ\x10\n\x01x\x12\x0b\n\t\x08\x01'
    b"\x12\x05\n\x03\x12\x01nb\x10\n\x01y\x12\x0b\n\t\x08\x01\x12\x05\n\x03\x12\x01nB\x04\n\x00"
    b"\x10\x11"
)


def start() -> str:
    """What the CUDA provider runs on, for people: `onnxruntime 1.31.1 CUDA on NVIDIA H200`.

    Raises:
        SessionError: it does not start; the message says why and how to mend it.
    """
    try:
        names = providers()
    except MissingExtraError as error:
        raise SessionError(why_not(error, extra="cuda")) from None
    if CUDA not in names:
        raise SessionError(
            f"the onnxruntime installed here has no {CUDA}: pip uninstall onnxruntime, then "
            f"{install_command('cuda')}"
        )
    try:
        gpu = gpu_name()
    except NoGpuError as error:
        raise SessionError(str(error)) from None
    runtime = import_onnxruntime()
    if problem := _problem(runtime):
        raise SessionError(problem)
    return f"onnxruntime {runtime.__version__} CUDA on {gpu}"


@functools.cache
def _problem(runtime: ModuleType) -> str:
    """What keeps the provider from starting; empty where nothing does. Tried once a process."""
    if missing := _missing_libraries(runtime):
        return f"CUDA's libraries are not found ({', '.join(missing)}): {install_command('cuda')}"
    try:
        trial = on_cuda_thread(
            lambda: runtime.InferenceSession(
                _IDENTITY,
                session_options(runtime, 1),
                providers=[(CUDA, {"device_id": DEVICE})],
                enable_fallback=False,
            )
        )
    except Exception as error:  # onnxruntime's exceptions share no base of their own
        return f"onnxruntime's {CUDA} does not start: {message_of(error)}"
    if CUDA not in trial.get_providers():
        return f"onnxruntime's {CUDA} does not start, and onnxruntime does not say why"
    return ""


def _missing_libraries(runtime: ModuleType) -> list[str]:
    """Load the CUDA libraries that pip installed; return the names of those that are nowhere.

    onnxruntime finds them itself only where the system's linker does. It prints what it misses.
    """
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        runtime.preload_dlls()
    return re.findall(r"^Failed to load (\S+):", printed.getvalue(), re.MULTILINE)
