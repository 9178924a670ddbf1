"""Plans of ONNX Runtime's CPU provider: each graph as the engine rewrote it, with its own weights.

Opening a graph as exported, ONNX Runtime reorders its weights for the processor, seconds of work
that end in a private copy of them. A plan is the result, saved: it opens four times faster, and
its weights stay where the file is mapped, so that processes share them (docs/decisions/0002). It
belongs to one version of ONNX Runtime and one instruction set, and costs the weights' size on disk.

build_plans(open_bundle("bundles/sd15"))     # writes plans/ort1.31.1-avx512-linux-x86_64/
fitting_plan(bundle, "unet")                 # its path, or None
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from overpaint.bundle import layout
from overpaint.bundle.errors import SessionError
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.plans import check_listable, new_plans, origin
from overpaint.engines.host.cpuinfo import cpu_flags

RECORD: Final = "build.json"
SMALLEST_OUTSIDE: Final = 1024  # bytes; smaller weights stay in the graph
_INSTRUCTION_SETS: Final = ("avx512f", "avx2", "asimd")

Built = Callable[[str, int, int], None]
"""Called with (component, components done, components in all)."""


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`build.json`: what each plan was made of, by component."""

    onnxruntime: str
    made_of: dict[str, str]


def build_plans(bundle: Bundle, progress: Built = lambda name, done, total: None) -> Path:
    """Write every component's plan for this machine into the bundle; return their folder.

    Those that were there for the same target are replaced; where building fails or is interrupted,
    the bundle opens as it did without them.

    Raises:
        BundleError: the bundle has no manifest to list plans in.
        UsageError: it may not be written to.
        SessionError: ONNX Runtime cannot make a plan of a graph.
        MissingExtraError: onnxruntime is not installed.
    """
    from overpaint.engines.onnxruntime.library import (
        import_onnxruntime,
        message_of,
        session_options,
        to_load,
    )

    from .engine import PROVIDER, cpu_rewrite

    check_listable(bundle)
    runtime = import_onnxruntime()
    name = target(runtime.__version__)
    components = list(bundle.manifest.components)
    with new_plans(bundle, name) as folder:
        for done, component in enumerate(components):
            progress(component, done, len(components))
            options = session_options(runtime, 1)
            options.optimized_model_filepath = os.fspath(folder / f"{component}.onnx")
            for key, value in (
                ("file_name", f"{component}.weights"),
                ("min_size_in_bytes", str(SMALLEST_OUTSIDE)),
            ):
                entry = f"session.optimized_model_external_initializers_{key}"
                options.add_session_config_entry(entry, value)
            described = bundle.component(component)
            model = to_load(bundle.path(described.graph), options, cpu_rewrite(described))
            try:
                runtime.InferenceSession(model, options, providers=[PROVIDER])
            except Exception as error:  # onnxruntime's exceptions share no base of their own
                raise SessionError(f"{component}: no plan was made: {message_of(error)}") from error
        made_of = {component: origin(bundle.manifest, component) for component in components}
        record = Record(onnxruntime=runtime.__version__, made_of=made_of)
        (folder / RECORD).write_bytes(msgspec.json.format(msgspec.json.encode(record)) + b"\n")
    progress(components[-1], len(components), len(components))
    return bundle.folder / layout.PLANS / name


def fitting_plan(bundle: Bundle, component: str) -> Path | None:
    """The component's plan, where there is one for this ONNX Runtime, processor and graph."""
    if not any(path.startswith(f"{layout.PLANS}/ort") for path in bundle.manifest.files):
        return None
    from overpaint.engines.onnxruntime.library import import_onnxruntime

    place = f"{layout.PLANS}/{target(import_onnxruntime().__version__)}"
    if f"{place}/{RECORD}" not in bundle.manifest.files:
        return None
    record = msgspec.json.decode(bundle.path(f"{place}/{RECORD}").read_bytes(), type=Record)
    if record.made_of.get(component) != origin(bundle.manifest, component):
        return None
    return bundle.path(f"{place}/{component}.onnx")


def target(version: str) -> str:
    """What a plan is for: `ort1.31.1-avx512-linux-x86_64`. ONNX Runtime lays weights out by the
    width of the processor's vectors."""
    machine = f"{platform.system()}-{platform.machine()}".lower()
    return f"ort{version}-{_vectors()}-{machine}"


def _vectors() -> str:
    flags = cpu_flags()
    found = next((name for name in _INSTRUCTION_SETS if name in flags), "any")
    return found.removesuffix("f")
