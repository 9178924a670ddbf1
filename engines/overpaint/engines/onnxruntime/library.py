"""The onnxruntime package: imported late, told its options, its messages read.

docs/decisions/0004 has the figures behind the options.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeAlias

from overpaint.bundle.errors import BrokenExtraError, MissingExtraError
from overpaint.bundle.graph.wire import MalformedError
from overpaint.bundle.installed import install_command

SPINNING_FROM: Final = 4  # cores
WEIGHTS_BESIDE: Final = "session.model_external_initializers_file_folder_path"
LARGEST_REWRITTEN: Final = 1 << 24  # bytes; a larger graph carries its weights, and stays as it is

Rewrite: TypeAlias = Callable[[bytes], bytes | None]
"""An ONNX model otherwise written; None where it is to stay as it is. Raises MalformedError."""


def providers() -> list[str]:
    """ONNX Runtime's execution providers as it was built.

    Raises:
        MissingExtraError: as `import_onnxruntime`.
    """
    names: list[str] = import_onnxruntime().get_available_providers()
    return names


def import_onnxruntime() -> ModuleType:
    """Import onnxruntime: late, for it takes some 25 ms that `overpaint info` need not spend.

    Since 1.31 it keeps a device id and a database of events under ~/.cache/Microsoft at each run,
    and has an address to send them to: it is told not to, unless ORT_DISABLE_TELEMETRY says 0.

    Raises:
        MissingExtraError: it is not installed.
        BrokenExtraError: it does not load.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError.told_by(error, "cpu", "onnxruntime") from error
    module: ModuleType = onnxruntime
    return module


def why_not(error: MissingExtraError, extra: str = "cpu") -> str:
    """Why nothing runs on ONNX Runtime, as a clause for people; `extra` would bring it."""
    if isinstance(error, BrokenExtraError):
        return str(error)
    return f"onnxruntime is not installed: {install_command(extra)}"


def session_options(runtime: ModuleType, threads: int) -> Any:
    """Return ONNX Runtime's SessionOptions for `threads` cores."""
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Left alone, it takes every core of the machine, whatever the affinity mask or container says,
    # and pins its threads to them.
    options.intra_op_num_threads = threads
    # The graphs are one chain with few branches: running two nodes at once gains nothing.
    options.inter_op_num_threads = 1
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    # A memory plan for each shape, in one block beside the arena: a third more memory, no time won.
    options.enable_mem_pattern = False
    # Waiting workers spin. Where cores are few, they spin on the ones that others need: the next
    # engine, the host's own step, another process.
    spin = "1" if threads >= SPINNING_FROM else "0"
    options.add_session_config_entry("session.intra_op.allow_spinning", spin)
    # What is wrong arrives as an exception: the log would say it a second time, on stderr.
    options.log_severity_level = 4
    return options


def message_of(error: Exception) -> str:
    """ONNX Runtime's message without its code and its source positions, on one line."""
    text = " ".join(str(error).split())
    _, _, tail = text.rpartition("[ONNXRuntimeError] : ")
    return tail[:400] or type(error).__name__


def to_load(graph: str | os.PathLike[str], options: Any, rewrite: Rewrite) -> str | bytes:
    """What an InferenceSession with these SessionOptions is to be made of: the file, or what
    `rewrite` makes of it. A file that carries its weights, or is no graph, stays as it is."""
    path = os.fspath(graph)
    try:
        if os.stat(path).st_size > LARGEST_REWRITTEN:
            return path
        model = rewrite(Path(path).read_bytes())
    except (OSError, MalformedError):
        return path  # which the engine will say
    if model is None:
        return path
    options.add_session_config_entry(WEIGHTS_BESIDE, os.path.dirname(path))
    return model
