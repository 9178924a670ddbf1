"""Writing a model repository: a model for each engine of a bundle, and one that paints with them.

repo/sd15/config.pbtxt                 the loop, in Triton's Python backend
repo/sd15/1/model.py                   a line: the class in overpaint.scale.triton.model
repo/sd15/1/bundle/                    the manifest, tokenizers, schedules; no weights
repo/sd15_unet/config.pbtxt            an engine
repo/sd15_unet/1/model.onnx, …         its graph and weights, linked where the disk can
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from overpaint.bundle import layout
from overpaint.bundle.errors import OutputExistsError, OverpaintError, UsageError
from overpaint.bundle.format.bundle import Bundle

from .config import LOOP_INPUTS, LOOP_OUTPUTS, engine_config, model_config
from .graph import taking_numbers

BACKENDS: Final = ("onnxruntime", "python")
"""What runs the engines: Triton's ONNX Runtime backend, or our own sessions in its Python one."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def write_repository(bundle: Bundle, repository: Path, name: str, backend: str) -> tuple[str, ...]:
    """Write the models and return their names; the first is the one to ask.

    name: the loop's; the engines' begin with it.

    Raises:
        UsageError: a name or a backend that Triton does not know, or a bundle it cannot take.
        OutputExistsError: a model of one of these names is there.
    """
    if backend not in BACKENDS:
        raise UsageError(f"--backend: expected {' or '.join(BACKENDS)}, got {backend!r}")
    if not _NAME.fullmatch(name):
        raise UsageError(f"--name: expected letters, digits, _, . and -, got {name!r}")
    engines = {part: f"{name}_{part}" for part in bundle.manifest.components}
    for model in (name, *engines.values()):
        if os.path.lexists(repository / model):
            raise OutputExistsError(f"{repository / model}: exists already; name another --output")
    configs = {
        part: engine_config(model, bundle.manifest.components[part], backend)
        for part, model in engines.items()
    }
    try:
        for part, model in engines.items():
            component = bundle.manifest.components[part]
            _write_model(repository / model, configs[part], backend, "Engine")
            to = repository / model / "1"
            if backend == "python":
                to = to / "bundle"
                for file in (layout.MANIFEST, *_engine_files(bundle, part)):
                    _place(bundle.folder / file, to / file)
                continue
            for file in _engine_files(bundle, part):
                if file != component.graph:
                    _place(bundle.folder / file, to / Path(file).name)
            graph = (bundle.folder / component.graph).read_bytes()
            (to / layout.GRAPH).write_bytes(taking_numbers(graph, component.inputs))
        _write_model(
            repository / name,
            model_config(name, "python", LOOP_INPUTS, LOOP_OUTPUTS),
            "python",
            "Loop",
        )
        weights = {file for part in engines for file in _engine_files(bundle, part)}
        for file in (layout.MANIFEST, *bundle.manifest.files):
            if file not in weights and not file.startswith(f"{layout.PLANS}/"):
                _place(bundle.folder / file, repository / name / "1" / "bundle" / file)
    except OSError as error:
        raise OverpaintError(f"{repository}: cannot be written: {error.strerror}") from None
    return name, *engines.values()


def _engine_files(bundle: Bundle, part: str) -> Iterator[str]:
    """A component's graph and the weights that it points into."""
    graph = bundle.manifest.components[part].graph
    folder = graph.rpartition("/")[0]
    for path, file in bundle.manifest.files.items():
        if path == graph or (file.weights and path.rpartition("/")[0] == folder):
            yield path


def _write_model(folder: Path, config: str, backend: str, what: str) -> None:
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(config, "utf-8")
    if backend == "python":
        (folder / "1" / "model.py").write_text(
            f"from overpaint.scale.triton.model import {what} as TritonPythonModel  # noqa: F401\n",
            "utf-8",
        )


def _place(file: Path, to: Path) -> None:
    """Linked: a repository's weights take no room of their own on the bundle's disk."""
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file, to)
    except OSError:
        shutil.copyfile(file, to)
