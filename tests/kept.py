"""What takes long to make and changes seldom, kept between test runs under `.pytest_cache`.

Each thing's key is a hash of the sources and the versions that it depends on, so nothing stale is
ever used; `pytest --cache-clear` forgets it all. A test traces anew and compares.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from overpaint.bundle.importing.compatible_configs import computed_with

if TYPE_CHECKING:
    from overpaint.export.parts import Part

ROOT = Path(__file__).parents[1]
EXPORT = ROOT / "export/overpaint/export"
BUNDLE = ROOT / "bundle/overpaint/bundle"
TRACING = [
    *(EXPORT / f"{name}.py" for name in ("part", "rewrites", "trace", "translations")),
    *sorted((EXPORT / "networks").glob("[a-z]*.py")),
]
CONTROL_TRACING = [*TRACING, EXPORT / "control/networks.py"]
EXPORTING = [
    *TRACING,
    *(
        EXPORT / f"{name}.py"
        for name in ("bundle", "parity", "parts", "reduced", "tokenizers", "weights")
    ),
    *sorted((EXPORT / "families").glob("*.py")),
    *sorted((BUNDLE / "families").glob("*.py")),
    *(
        BUNDLE / f"{name}.py"
        for name in (
            "facts",
            "record",
            "tensor",
            "checkpoint/bind",
            "checkpoint/folder",
            "checkpoint/match",
            "format/manifest",
            "graph/weights",
            "importing/preview_factors",
            "tokenizer/clip",
        )
    ),
    ROOT / "tests/checkpoints.py",
]
# Read now, not when a key is asked for: a file that is edited while tests run must not be taken for
# the code that ran.
CONTENT = {source: source.read_bytes() for source in (*EXPORTING, *CONTROL_TRACING)}
PACKAGES = ("torch", "diffusers", "transformers", "onnx", "onnxscript", "onnx_ir", "tokenizers")


def key(sources: list[Path], *more: str) -> str:
    """A hash of files, of the exporters' versions, and of `more`."""
    digest = hashlib.sha256(repr([*map(version, PACKAGES), *more]).encode())
    for source in sources:
        digest.update(CONTENT[source])
    return digest.hexdigest()[:20]


def build(path: Path, make: Callable[[Path], object]) -> Path:
    """Make `path` once, whichever process comes first; the others wait for it."""
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            beside = path.with_name(path.name + ".part")
            shutil.rmtree(beside, ignore_errors=True)
            make(beside)
            beside.rename(path)
    return path


def remembering(
    trace: Callable[[Part], bytes], folder: Path, sources: list[Path] = TRACING
) -> Callable[[Part], bytes]:
    """`trace`, which is written in `sources`, but a graph that was traced before is read from
    `folder`."""

    def remembered(part: Part) -> bytes:
        config = json.dumps(computed_with(part.config), sort_keys=True)
        about = [part.component, part.compute, config]
        about += [part.class_name, repr((part.inputs, part.outputs, part.ranges))]
        name = f"{part.component}-{key(sources, *about)}.onnx"
        return build(folder / name, lambda to: to.write_bytes(trace(part))).read_bytes()

    return remembered
