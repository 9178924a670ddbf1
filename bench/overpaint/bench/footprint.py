"""What each way to run a model costs before it has painted anything: disk, imports, memory.

Every contender gets an environment of its own with nothing but what it needs. Environments that
are there already are measured as they are.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Final

from overpaint.bundle.errors import OverpaintError
from overpaint.bundle.installed import requirement

from .contenders import OURS, Contender, ours, peer
from .environments import OPTIMUM, TORCH
from .measure import Plan, Progress, measure
from .records import Footprint
from .task import Task

_TOOLS: Final = ("pip", "setuptools", "wheel", "_distutils_hack", "pkg_resources", "distutils-p")


@dataclass(frozen=True, slots=True)
class Environment:
    """`packages`: what pip is given, one step after the other."""

    contender: Contender
    folder: Path
    packages: tuple[tuple[str, ...], ...]


def footprint(
    folder: Path, optimum_python: str | None, task: Task, plan: Plan, progress: Progress
) -> Iterator[Footprint]:
    """Disk, cold start and memory of overpaint's, diffusers' and optimum's environments."""
    once = replace(plan, warmup=0, repeats=1)
    for environment in _environments(folder, optimum_python):
        name = environment.contender.name
        try:
            _make(environment, progress)
            [run] = measure([environment.contender], task, once, progress)
        except (OverpaintError, subprocess.CalledProcessError, OSError) as error:
            yield Footprint(environment=name, status="skipped", why=" ".join(str(error).split()))
            continue
        if run.cold_start is None:
            yield Footprint(environment=name, status="skipped", why=run.why)
            continue
        yield Footprint(
            environment=name,
            status="ok",
            installed_mb=round(installed_bytes(environment.folder) / 1e6, 1),
            import_s=round(statistics.median(run.cold_start.imported_s), 3),
            first_image_s=round(statistics.median(run.cold_start.first_image_s), 3),
            resident_mb=run.resident_mb,
            peak_mb=run.peak_mb,
            versions=run.versions,
        )


def _environments(folder: Path, optimum_python: str | None) -> Iterator[Environment]:
    own = folder / "overpaint"
    yield Environment(_with_python(ours(), _python(own)), own, ((_own_requirement(),),))
    torch = folder / "diffusers"
    diffusers = _with_python(peer("diffusers", None), _python(torch))
    yield Environment(diffusers, torch, (TORCH, ("diffusers", "transformers")))
    optimum = Path(optimum_python).parents[1] if optimum_python else folder / "optimum"
    contender = _with_python(peer("optimum", optimum_python), _python(optimum))
    yield Environment(contender, optimum, (TORCH, OPTIMUM))


def _own_requirement() -> str:
    """This very version: from where it was installed, or from the index."""
    asked = requirement("cpu")
    if asked == f"{OURS}[cpu]":  # an index has other versions too
        asked += f"=={version(OURS)}"
    return asked


def _python(folder: Path) -> str:
    return os.fspath(folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def _with_python(contender: Contender, python: str) -> Contender:
    return replace(contender, command=(python, *contender.command[1:]))


def _make(environment: Environment, progress: Progress) -> None:
    python = environment.contender.command[0]
    if os.path.exists(python):
        return
    progress(0, 0, f"{environment.contender.name}: making an environment")
    subprocess.run([sys.executable, "-m", "venv", environment.folder], check=True)
    for packages in environment.packages:
        install = [python, "-m", "pip", "install", "--quiet", *packages]
        subprocess.run(install, check=True, stdout=sys.stderr)


def installed_bytes(environment: Path) -> int:
    """The files of an environment's site-packages, without those of pip and setuptools."""
    packages = [path for path in environment.rglob("site-packages") if path.is_dir()]
    return sum(
        file.lstat().st_size
        for folder in packages
        for file in folder.rglob("*")
        if file.is_file() and not file.relative_to(folder).parts[0].startswith(_TOOLS)
    )
