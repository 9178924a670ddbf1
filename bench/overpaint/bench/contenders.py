"""Who takes part: the interpreter each needs, and the command that installs what is missing."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from overpaint.bundle.errors import UsageError
from overpaint.bundle.installed import install_command
from overpaint.runtime.fidelity import EXACT

OURS: Final = "overpaint"
STREAMING: Final = "streamdiffusion"
"""Takes part in `--live` alone."""
GENAI: Final = "openvino-genai"
SDCPP: Final = "sdcpp"
PEERS: Final = ("diffusers", "compile", "optimum", GENAI, SDCPP, STREAMING)
OPTIMUM_PYTHON: Final = "OVERPAINT_OPTIMUM_PYTHON"
# torch by its exact version: an open range would bring gigabytes of CUDA with it on some indexes.
TORCH: Final = ("torch==2.13.0",)
OPTIMUM: Final = (
    *("optimum-onnx==0.1.0", "transformers<4.58", "diffusers==0.35.2"),
    *("onnx==1.19.1", "onnxruntime==1.23.2", *TORCH),
)
# It pins a diffusers of 2023, and runs with ours.
STREAMDIFFUSION: Final = ("--no-deps", "streamdiffusion==0.1.1")
# optimum converts, and is not there when pictures are made.
OPENVINO_GENAI: Final = (*TORCH, "openvino-genai==2026.4.*", "optimum-intel", "diffusers")
# Compiled where it is installed, for that processor.
STABLE_DIFFUSION_CPP: Final = ("stable-diffusion-cpp-python==0.4.7", "numpy", "pillow")
_PEER_PROCESS: Final = Path(__file__).with_name("peer_process.py")
_GENAI_PROCESS: Final = Path(__file__).with_name("genai_process.py")
_SDCPP_PROCESS: Final = Path(__file__).with_name("sdcpp_process.py")


@dataclass(frozen=True, slots=True)
class Contender:
    """`command` starts it; `install` is what brings it. `fidelity`: at which of our levels it
    paints; peers have none but exact. `alike`: whether it makes our picture in our precision; who
    cannot is timed, and enters no ratio."""

    name: str
    command: tuple[str, ...]
    install: str | None
    fidelity: str = EXACT
    alike: bool = True


def ours(fidelity: str = EXACT) -> Contender:
    name = OURS if fidelity == EXACT else f"{OURS} {fidelity}"
    command = (sys.executable, "-m", "overpaint.bench.own_process")
    return Contender(name, command, None, fidelity)


def peer(name: str, optimum_python: str | None) -> Contender:
    """Raises UsageError for a name that is none of PEERS."""
    if name not in PEERS:
        raise UsageError(f"--against: expected names out of {', '.join(PEERS)}; got {name!r}")
    python = sys.executable
    install = install_command("export")
    if name == "optimum":  # it pins older transformers and diffusers than ours
        python = optimum_python or _in_cache("optimum")
        install = _environment(python, OPTIMUM)
    if name == GENAI:
        python = _in_cache("openvino-genai")
        command = (python, os.fspath(_GENAI_PROCESS))
        return Contender(name, command, _environment(python, OPENVINO_GENAI))
    if name == SDCPP:
        python = _in_cache("sdcpp")
        command = (python, os.fspath(_SDCPP_PROCESS))
        install = _environment(python, STABLE_DIFFUSION_CPP)
        return Contender(name, command, install, alike=False)
    if name == STREAMING:
        install = f"{install} && pip install {shlex.join(STREAMDIFFUSION)}"
    return Contender(name, (python, os.fspath(_PEER_PROCESS), name), install)


def _environment(python: str, packages: Sequence[str]) -> str:
    """The line that makes the environment of `python`."""
    folder = Path(python).parents[1]
    return f"python3 -m venv {folder} && {folder}/bin/pip install {shlex.join(packages)}"


def _in_cache(environment: str) -> str:
    """The interpreter of an environment of its own."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return os.fspath(Path(cache) / "overpaint" / environment / "bin" / "python")
