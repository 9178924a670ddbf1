"""A checkpoint on disk: a diffusers folder, its configs, and where each of its tensors lies."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from overpaint.bundle import layout
from overpaint.bundle.errors import CheckpointError
from overpaint.bundle.facts import Configs
from overpaint.bundle.files.json import read_json
from overpaint.bundle.files.looking import is_file, is_folder
from overpaint.bundle.tokenizer.files import pad_token_id

from .safetensors import Stored, read_header

_HUB_ID: Final = re.compile(r"[\w.-]+/[\w.-]+")
_STEMS: Final = ("diffusion_pytorch_model", "model")
_VARIANTS: Final = (None, "fp16")
_SINGLE_FILES: Final = (".safetensors", ".ckpt", ".gguf", ".pt", ".pth", ".bin")  # no hub id
_SHARD: Final = re.compile(r"-\d+-of-\d+\.safetensors$|\.safetensors\.index(\.\w+)?\.json$")


@dataclass(frozen=True, slots=True)
class Weights:
    """A component's safetensors files: several where it is sharded. `variant` as in `*.fp16.*`."""

    files: tuple[Path, ...]
    variant: str | None

    def tensors(self) -> dict[str, Stored]:
        """Where each tensor lies, by name.

        Raises:
            CheckpointError: a file is missing, truncated, or not safetensors.
        """
        found: dict[str, Stored] = {}
        for file in self.files:
            found |= read_header(file)[0]
        return found


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A diffusers folder. `index` is its model_index.json."""

    folder: Path
    name: str
    index: dict[str, Any]

    def has(self, component: str) -> bool:
        """Whether the pipeline has this component (SD 3 comes with and without T5)."""
        entry = self.index.get(component)
        return isinstance(entry, list) and entry != [None, None]

    def class_name(self, component: str) -> str:
        """The class that the component was saved from, as model_index.json says."""
        entry = self.index.get(component)
        if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], str)):
            raise CheckpointError(
                f"{self.folder / layout.MODEL_INDEX}: expected {component!r} to name a class, "
                f"got {entry!r}"
            )
        return entry[1]

    def config(self, component: str, file: str = layout.CONFIG) -> dict[str, Any]:
        """A component's own configuration."""
        return read_json(self.folder / component / file)

    def weights(self, component: str) -> Weights:
        """The files that hold the component's tensors: full precision first, then fp16."""
        folder = self.folder / component
        names = set(os.listdir(folder)) if folder.is_dir() else set()
        for variant in _VARIANTS:
            for stem in _STEMS:
                if found := _files(folder, names, stem, variant):
                    return Weights(found, variant)
        pickles = sorted(name for name in names if name.endswith((".bin", ".ckpt", ".pt")))
        raise CheckpointError(
            f"{folder}: expected {_STEMS[0]}.safetensors or {_STEMS[1]}.safetensors, got "
            + (
                f"{pickles[0]}, a pickle, which can run code when it is read; save the checkpoint "
                "with safe_serialization=True"
                if pickles
                else "no weights; is the download complete?"
            )
        )


def component_configs(checkpoint: Checkpoint) -> dict[str, dict[str, Any]]:
    """The config.json of each component that the checkpoint has.

    Raises:
        CheckpointError: one is missing or malformed.
    """
    components = (*layout.TEXT_ENCODERS, *layout.DENOISERS, "vae")
    return {name: checkpoint.config(name) for name in components if checkpoint.has(name)}


def configs_of(checkpoint: Checkpoint) -> Configs:
    """The JSON files of a checkpoint, from which `families.facts_of` reads what it is.

    Raises:
        CheckpointError: one is missing or malformed.
    """
    return Configs(
        index=checkpoint.index,
        scheduler=read_json(checkpoint.folder / layout.SCHEDULER_CONFIG),
        components=component_configs(checkpoint),
        pad_token_ids={
            tokenizer: pad_token_id(checkpoint.folder / tokenizer)
            for encoder, tokenizer in zip(layout.TEXT_ENCODERS, layout.TOKENIZERS, strict=True)
            if checkpoint.has(encoder)
        },
    )


def open_checkpoint(source: str | os.PathLike[str]) -> Checkpoint:
    """The checkpoint in a folder, or of a hub id (its files are fetched, or found in the cache).

    Raises:
        CheckpointError: it is not there, or not a diffusers folder.
    """
    path, name = Path(source), os.fspath(source)
    if is_file(path):
        raise CheckpointError(
            f"{path}: a single file; `overpaint import` makes a bundle from it, "
            "`export` from a diffusers folder or a hub id"
        )
    if not is_folder(path):
        if name.lower().endswith(_SINGLE_FILES):
            raise CheckpointError(f"{path}: no such file")
        if not _HUB_ID.fullmatch(name) or name.startswith("."):
            raise CheckpointError(f"{path}: no such folder, and not a hub id (OWNER/NAME)")
        path = _download(name)
    else:
        name = path.resolve().name
    if not is_file(path / layout.MODEL_INDEX):
        raise CheckpointError(f"{path}: not a diffusers folder: it has no {layout.MODEL_INDEX}")
    return Checkpoint(path, name, read_json(path / layout.MODEL_INDEX))


def _files(folder: Path, names: set[str], stem: str, variant: str | None) -> tuple[Path, ...]:
    dot = "" if variant is None else f".{variant}"
    index = f"{stem}.safetensors.index{dot}.json"
    if index in names:
        shards = read_json(folder / index).get("weight_map")
        if not isinstance(shards, dict) or not all(isinstance(s, str) for s in shards.values()):
            raise CheckpointError(f"{folder / index}: expected a weight_map of file names")
        files = sorted(set(shards.values()))
        if missing := [file for file in files if file not in names]:
            raise CheckpointError(f"{folder}: {index} lists {missing[0]}, which is missing")
        return tuple(folder / file for file in files)
    single = f"{stem}{dot}.safetensors"
    return (folder / single,) if single in names else ()


def _download(name: str) -> Path:
    """Fetch what an export reads: configs, tokenizers, and one variant of the weights."""
    try:
        from huggingface_hub import HfApi, snapshot_download
    except ImportError as error:
        raise CheckpointError(
            f"{name}: no such folder, and without huggingface_hub no hub is asked ({error})"
        ) from None
    try:
        files = HfApi().list_repo_files(name)
        return Path(snapshot_download(name, allow_patterns=wanted_files(files)))
    except Exception as error:  # the client lets its HTTP library's errors through, whichever it is
        try:
            return Path(snapshot_download(name, local_files_only=True))
        except Exception:
            why = " ".join(str(error).split())[:300]
            raise CheckpointError(
                f"{name}: no such folder, and the hub gave nothing under that name ({why})"
            ) from error


def wanted_files(files: list[str]) -> list[str]:
    """Of a repository's files, those that an export reads."""
    wanted = [layout.MODEL_INDEX]
    for folder in sorted({file.split("/")[0] for file in files if file.count("/") == 1}):
        names = {file.split("/")[1] for file in files if file.startswith(f"{folder}/")}
        wanted += [f"{folder}/{n}" for n in sorted(names) if _is_config(n)]
        wanted += [f"{folder}/{n}" for n in _one_variant(names)]
    return wanted


def _is_config(name: str) -> bool:
    return name.endswith((".json", ".txt", ".model")) and not _SHARD.search(name)


def _one_variant(names: set[str]) -> list[str]:
    for variant in _VARIANTS:
        dot = "" if variant is None else f".{variant}"
        for stem in _STEMS:
            if f"{stem}.safetensors.index{dot}.json" in names:
                shard = re.compile(rf"{stem}{re.escape(dot)}-\d+-of-\d+(\.\w+)?\.safetensors")
                shards = {n for n in names if shard.fullmatch(n)}
                return sorted(shards | {f"{stem}.safetensors.index{dot}.json"})
            if f"{stem}{dot}.safetensors" in names:
                return [f"{stem}{dot}.safetensors"]
    return []
