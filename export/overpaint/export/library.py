"""The packaged architectures, made: `python -m overpaint.export.library`.

Every graph is traced on the meta device from its true config, as an export traces it, and stored
without weights. A graph that two architectures share is traced and stored once.
"""

from __future__ import annotations

import ast
import gzip
import hashlib
import importlib.util
import json
import lzma
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, Final

import diffusers
import msgspec
import torch
import transformers

from overpaint.bundle import layout
from overpaint.bundle.checkpoint.folder import open_checkpoint
from overpaint.bundle.errors import BundleError
from overpaint.bundle.families import family_of
from overpaint.bundle.format.manifest import Component
from overpaint.bundle.importing import library as packaged
from overpaint.bundle.importing.compatible_configs import computed_with
from overpaint.bundle.importing.write_configs import write_json

from . import networks, part, rewrites, trace, translations
from .architectures import Architecture, Config
from .families import ARCHITECTURES
from .part import Part
from .parts import parts_of
from .quiet import quietly
from .reduced import measure_reduced

_PACKAGES: Final = ("torch", "diffusers", "transformers", "onnx", "onnxscript")
TRACING: Final = (
    part,
    rewrites,
    trace,
    translations,
    *(
        import_module(f"{networks.__name__}.{found.name}")
        for found in sorted(iter_modules(networks.__path__), key=lambda found: found.name)
    ),
)
"""The modules that make a graph of a config."""

_TOKENIZERS: Final = {"T5EncoderModel": "T5TokenizerFast", "Qwen3Model": "Qwen2Tokenizer"}
_PRESET: Final = 9 | lzma.PRESET_EXTREME
_MERGES: Final = slice(1, 49152 - 256 - 2 + 1)  # of open_clip's list, those that CLIP has


def make_library(
    known: Mapping[str, Architecture],
    folder: Path,
    dtypes: tuple[str, ...] = ("float32", "float16"),
    say: Callable[[str], object] = lambda text: None,
) -> None:
    """Write a library of `known` into `folder`, which is replaced.

    Graphs that are there, traced by this very code from the same configs, are kept; so is each one
    as it is made, beside `folder`, so that an interruption loses one.
    """

    def entries_of(shelf: Shelf) -> dict[str, packaged.Architecture]:
        entries = {}
        for name, architecture in known.items():
            configs = {one: full_config(*spec) for one, spec in architecture.components.items()}
            graphs: dict[str, dict[str, str]] = {dtype: {} for dtype in dtypes}
            for dtype, made in graphs.items():
                for one in _parts(architecture, configs, dtype):
                    title = f"{name}-{one.component}-{one.compute}"
                    made[one.component] = shelf.store(title, one)
            entries[name] = _entry(architecture, configs, graphs)
        (shelf.folder / packaged.MERGES).write_bytes(
            lzma.compress(clip_merges().encode(), preset=_PRESET)
        )
        return entries

    write_library(folder, entries_of, exporter_hash(), say)


def write_library(
    folder: Path,
    entries_of: Callable[[Shelf], dict[str, packaged.Architecture]],
    exporter: str,
    say: Callable[[str], object],
) -> None:
    """Write a library of what `entries_of` makes into `folder`, which is replaced. `exporter`: the
    hash of the code that is running, whatever happens to its files meanwhile."""
    partial = folder.with_name(f"{folder.name}.partial")
    made_by = hashlib.sha256(json.dumps([exporter, _versions()]).encode()).hexdigest()[:16]
    with tempfile.TemporaryDirectory() as temporary:
        beside = Path(temporary, folder.name)
        (beside / packaged.GRAPHS).mkdir(parents=True)
        shelf = Shelf(beside, _former(folder, exporter), partial / made_by, say)
        entries = entries_of(shelf)
        index = packaged.Index(
            exporter=exporter,
            versions=_versions(),
            graphs=shelf.graphs,
            architectures=entries,
        )
        text = msgspec.json.format(msgspec.json.encode(index), indent=1)
        (beside / packaged.INDEX).write_bytes(text + b"\n")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(beside, folder)
    shutil.rmtree(partial, ignore_errors=True)


def full_config(library: str, class_name: str, config: Config) -> Config:
    """A config.json: what is written down, and the class's defaults."""
    if library == "diffusers":
        with torch.device("meta"):
            network = getattr(diffusers, class_name)(**config)
        full = {key: value for key, value in network.config.items() if not key.startswith("_")}
        return json.loads(json.dumps({"_class_name": class_name, **full}))  # type: ignore[no-any-return]
    made = getattr(transformers, class_name).config_class(**config)
    made.architectures = [class_name]
    full = made.to_dict()
    full.pop("transformers_version", None)
    return json.loads(json.dumps(full))  # type: ignore[no-any-return]


def exporter_hash(modules: Sequence[ModuleType] = TRACING) -> str:
    """The code that makes a graph of a config, as one hash. What does not change a graph does not
    count: comments, docstrings, and where a name is imported from."""
    digest = hashlib.sha256()
    for module in modules:
        tree = _WithoutImports().visit(ast.parse(Path(str(module.__file__)).read_bytes()))
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                node.value = ast.Constant(None)  # a docstring
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()


class _WithoutImports(ast.NodeTransformer):
    def visit_Import(self, node: ast.Import) -> None:
        return None

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        return None


def traced_from(part: Part) -> str:
    """Everything about a part that shows in its graph, as one hash."""
    tensors = [(t.name, t.shape) for t in (*part.inputs, *part.outputs)]
    ranges = {name: [r.minimum, r.maximum, r.multiple] for name, r in part.ranges.items()}
    told = [part.component, part.compute, tensors, ranges, computed_with(part.config)]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def clip_merges() -> str:
    """CLIP's merges, one a line, from the list that open_clip's wheel carries."""
    spec = importlib.util.find_spec("open_clip")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("CLIP's merges come from open_clip: pip install --no-deps open_clip_torch")
    path = Path(spec.submodule_search_locations[0]) / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.decompress(path.read_bytes()).decode().split("\n")[_MERGES]
    return "\n".join(lines) + "\n"


def _parts(architecture: Architecture, configs: Mapping[str, Config], dtype: str) -> list[Part]:
    """What an export of this pipeline would trace."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_json(folder / layout.MODEL_INDEX, _model_index(architecture))
        for component, config in configs.items():
            (folder / component).mkdir()
            write_json(folder / component / layout.CONFIG, config)
        return parts_of(open_checkpoint(folder), dtype)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where graphs go, those that are there, those of the library that is replaced, and those
    that were made before an interruption."""

    folder: Path
    former: packaged.Library | None
    partial: Path
    say: Callable[[str], object]
    graphs: dict[str, packaged.Graph] = field(default_factory=dict)

    def store(self, name: str, part: Part) -> str:
        """Store a graph as `name`, unless it is there under another name, or was; its name."""
        key = traced_from(part)
        for known, graph in self.graphs.items():
            if graph.traced_from == key:
                return known
        name = self._former_name(key) or name
        kept = self._kept(name, key) or self._interrupted(key)
        template, self.graphs[name] = kept or self._made(name, key, part)
        path = self.folder / packaged.GRAPHS / f"{name}.onnx.xz"
        path.write_bytes(lzma.compress(template, preset=_PRESET))
        return name

    def _former_name(self, key: str) -> str | None:
        """What the same graph is called in the library that is replaced."""
        graphs = self.former.index.graphs if self.former else {}
        return next((name for name, graph in graphs.items() if graph.traced_from == key), None)

    def _kept(self, name: str, key: str) -> tuple[bytes, packaged.Graph] | None:
        """The same graph of the library that is replaced."""
        if self.former is None or name not in self.former.index.graphs:
            return None
        graph = self.former.index.graphs[name]
        return (self.former.template(name), graph) if graph.traced_from == key else None

    def _interrupted(self, key: str) -> tuple[bytes, packaged.Graph] | None:
        """The same graph of a run that did not come to its end."""
        try:
            graph = msgspec.json.decode(
                (self.partial / f"{key}.json").read_bytes(), type=packaged.Graph
            )
        except FileNotFoundError:
            return None
        return (self.partial / f"{key}.onnx").read_bytes(), graph

    def _made(self, name: str, key: str, part: Part) -> tuple[bytes, packaged.Graph]:
        self.say(name)
        with quietly():
            template = trace.trace(part)
            component = Component(
                graph=layout.graph_path(part.component),
                inputs=part.inputs,
                outputs=part.outputs,
                ranges=part.ranges,
                compute_dtype=part.compute,
                parity=measure_reduced(part),
            )
        sha256 = hashlib.sha256(template).hexdigest()
        graph = packaged.Graph(sha256=sha256, traced_from=key, component=component)
        self.partial.mkdir(parents=True, exist_ok=True)
        (self.partial / f"{key}.onnx").write_bytes(template)
        (self.partial / f"{key}.json").write_bytes(msgspec.json.encode(graph))
        return template, graph


def _former(folder: Path, exporter: str) -> packaged.Library | None:
    """The library in `folder`, if this code and these packages made its graphs."""
    if not (folder / packaged.INDEX).is_file():
        return None
    try:
        former = packaged.open_library(folder)
    except BundleError:
        return None
    index = former.index
    same = index.exporter == exporter and index.versions == _versions()
    return former if same else None


def _versions() -> dict[str, str]:
    return {package: version(package) for package in _PACKAGES}


def _entry(
    architecture: Architecture, configs: dict[str, Config], graphs: dict[str, dict[str, str]]
) -> packaged.Architecture:
    class_name, scheduler = architecture.scheduler
    index = _model_index(architecture)
    return packaged.Architecture(
        like=architecture.like,
        family=family_of(configs, architecture.like).name,
        index=index,
        scheduler={"_class_name": class_name, **scheduler},
        configs=configs,
        pads=dict(architecture.pads),
        graphs=graphs,
    )


def _model_index(architecture: Architecture) -> dict[str, Any]:
    components = {one: list(spec[:2]) for one, spec in architecture.components.items()}
    tokenizers = {
        tokenizer: ["transformers", _TOKENIZERS.get(components[encoder][1], "CLIPTokenizer")]
        for encoder, tokenizer in zip(layout.TEXT_ENCODERS, layout.TOKENIZERS, strict=True)
        if encoder in components
    }
    return {
        "_class_name": architecture.pipeline,
        **architecture.index,
        **components,
        **tokenizers,
        "scheduler": ["diffusers", architecture.scheduler[0]],
    }


def main() -> None:
    """Make the packaged library anew."""
    make_library(ARCHITECTURES, packaged.PACKAGED, say=lambda text: sys.stderr.write(f"{text}\n"))


if __name__ == "__main__":
    main()
