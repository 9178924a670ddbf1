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

from .environments import OPENVINO_GENAI, OPTIMUM, STABLE_DIFFUSION_CPP, STREAMDIFFUSION

OURS: Final = "overpaint"
STREAMING: Final = "streamdiffusion"
"""Takes part in `--live` alone."""
GENAI: Final = "openvino-genai"
SDCPP: Final = "sdcpp"
PEERS: Final = ("diffusers", "compile", "optimum", GENAI, SDCPP, STREAMING)
OPTIMUM_PYTHON: Final = "OVERPAINT_OPTIMUM_PYTHON"
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
