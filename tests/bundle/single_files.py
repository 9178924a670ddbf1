"""Single files and libraries for tests: the same tiny models, as the original code stores them."""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import safetensors.torch
import torch

from overpaint.bundle import layout
from overpaint.bundle.checkpoint.folder import component_configs, configs_of, open_checkpoint
from overpaint.bundle.checkpoint.source import IDENTITY
from overpaint.bundle.families import family_of
from overpaint.bundle.format.manifest_file import read_manifest
from overpaint.bundle.graph.weights import unbind
from overpaint.bundle.importing import library
from overpaint.bundle.importing.library import Library

Tensors = dict[str, torch.Tensor]


def component_tensors(checkpoint: Path, component: str) -> Tensors:
    """A component's tensors, from however many files it has."""
    tensors: Tensors = {}
    for file in sorted((checkpoint / component).glob("*.safetensors")):
        tensors |= safetensors.torch.load_file(file)
    return tensors


def single_file(checkpoint: Path) -> Tensors:
    """What a single file of this checkpoint holds. The names are proved in test_import_names."""
    opened = open_checkpoint(checkpoint)
    family = family_of(component_configs(opened))
    file: Tensors = {}
    for component in (*layout.TEXT_ENCODERS, *layout.DENOISERS, "vae"):
        if not opened.has(component):
            continue
        prefix, naming = family.single_file[component][:2]
        tensors = component_tensors(checkpoint, component)
        find = naming(tensors)
        parts: dict[str, dict[int, torch.Tensor]] = {}
        for name, tensor in tensors.items():
            source = find(name)
            assert source is not None, name
            if source == IDENTITY:
                continue
            value = tensor.T if source.transposed else tensor
            if component == "vae" and ".attn_1." in source.rows[0].name and value.ndim == 2:
                value = value[:, :, None, None]
            chunks = value.chunk(len(source.rows)) if value.ndim else (value,)
            for rows, piece in zip(source.rows, chunks, strict=True):
                parts.setdefault(rows.name, {})[rows.part] = piece
        for name, pieces in parts.items():
            in_order = [piece for _, piece in sorted(pieces.items())]
            file[prefix + name] = (
                torch.cat(in_order) if in_order[0].ndim else in_order[0]
            ).contiguous()
    return file


def write_single_file(
    checkpoint: Path, path: Path, metadata: Mapping[str, str] | None = None
) -> Path:
    safetensors.torch.save_file(single_file(checkpoint), path, dict(metadata or {"format": "pt"}))
    return path


def tiny_library(folder: Path, models: Mapping[str, tuple[Path, Path]], merges: str) -> Library:
    """A library of tiny architectures: name -> (checkpoint, its exported bundle)."""
    (folder / library.GRAPHS).mkdir(parents=True)
    graphs: dict[str, library.Graph] = {}
    architectures = {}
    for name, (checkpoint, bundle) in models.items():
        made = {}
        for component, entry in read_manifest(bundle).components.items():
            template, _ = unbind((bundle / entry.graph).read_bytes())
            graph = made[component] = f"{name}-{component}"
            (folder / library.GRAPHS / f"{graph}.onnx.xz").write_bytes(lzma.compress(template))
            sha256 = hashlib.sha256(template).hexdigest()
            graphs[graph] = library.Graph(sha256=sha256, traced_from="", component=entry)
        architectures[name] = _architecture(name, checkpoint, made)
    (folder / library.MERGES).write_bytes(lzma.compress(merges.encode()))
    index = library.Index(
        exporter="",
        versions={"torch": version("torch")},
        graphs=graphs,
        architectures=architectures,
    )
    (folder / library.INDEX).write_bytes(msgspec.json.encode(index))
    return library.open_library(folder)


def _architecture(name: str, checkpoint: Path, graphs: dict[str, str]) -> library.Architecture:
    configs = configs_of(open_checkpoint(checkpoint))
    pads: dict[str, Any] = {}
    for tokenizer in layout.TOKENIZERS:
        path = checkpoint / tokenizer / "tokenizer_config.json"
        if (checkpoint / tokenizer / "merges.txt").is_file():  # CLIP's; T5's is not packaged
            pad = json.loads(path.read_text())["pad_token"]
            pads[tokenizer] = pad["content"] if isinstance(pad, dict) else pad
    return library.Architecture(
        like=f"a tiny {name}",
        family=family_of(configs.components).name,
        index=dict(configs.index),
        scheduler=dict(configs.scheduler),
        configs={name: dict(config) for name, config in configs.components.items()},
        pads=pads,
        graphs={"float32": graphs},
    )
