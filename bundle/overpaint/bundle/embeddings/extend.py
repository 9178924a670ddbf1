"""A bundle that knows more words: each textual inversion's vectors are rows behind those of the
text encoders' own tables, which stay where they lie, and its tokens stand in the tokenizers.

    folder = with_embeddings(bundle, {"<cat-toy>": Path("cat.safetensors")})

A word of several vectors is as many tokens, `<cat-toy>`, `<cat-toy>_1`, … as diffusers has it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from overpaint.bundle import layout
from overpaint.bundle.checkpoint.safetensors import of_array, write_safetensors
from overpaint.bundle.errors import BundleError, CheckpointError, UsageError
from overpaint.bundle.extended import extended
from overpaint.bundle.facts import TextEncoder
from overpaint.bundle.files.hashing import Progress, sha256_file
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.manifest import Embedding, Manifest
from overpaint.bundle.graph.proto import graph_of, with_graph
from overpaint.bundle.graph.weights import Piece, Slot, Weight, bind, slot, slots, unbind
from overpaint.bundle.graph.wire import read_fields

from .file import Vectors, read_vectors

FILE: Final = "embeddings.safetensors"
"""What the new rows lie in, beside the encoder's graph."""
_FORMAT: Final = "1"  # raise it when the same files would make another bundle
_TABLE: Final = "token_embedding.weight"
_WORD: Final = re.compile(r"\S{1,64}")
_STORED: Final = {"F32": "<f4", "F16": "<f2"}


def with_embeddings(
    bundle: Bundle, files: Mapping[str, Path], progress: Progress | None = None
) -> Path:
    """The folder of `bundle` in whose prompts each of these words stands for its file's vectors.

    Raises:
        UsageError: a word has a space in it, or is one already.
        CheckpointError: a file is no textual inversion, or is for other text encoders.
        BundleError: the tables are not as tables of CLIP's are.
    """
    if bundle.manifest.embeddings:
        raise BundleError(f"{bundle.folder}: it has embeddings already; open what it was made of")
    for word in files:
        if not _WORD.fullmatch(word):
            raise UsageError(f"embedding: expected a word without spaces, got {word!r}")
    vectors = {word: read_vectors(path) for word, path in files.items()}
    hashes = {word: sha256_file(path) for word, path in files.items()}
    key = [_FORMAT, *(f"{word}={sha256}" for word, sha256 in sorted(hashes.items()))]

    def edit(folder: Path, manifest: Manifest) -> Manifest:
        known: dict[str, int] = {}
        for encoder in manifest.text.encoders:
            if encoder.kind == "clip":
                known |= _extend(folder, manifest, encoder, vectors, files)
        told = tuple(
            Embedding(word=word, sha256=hashes[word], vectors=known[word]) for word in sorted(files)
        )
        return msgspec.structs.replace(manifest, embeddings=told)

    return extended(bundle, "embeddings", key, edit, progress)


def _extend(
    folder: Path,
    manifest: Manifest,
    encoder: TextEncoder,
    vectors: Mapping[str, Mapping[str | None, Vectors]],
    files: Mapping[str, Path],
) -> dict[str, int]:
    """Give one encoder the rows, and its tokenizer the tokens; how many each word has."""
    graph = folder / manifest.components[encoder.component].graph
    template, weights = unbind(graph.read_bytes())
    wanted = slots(template)
    table = _table(graph, wanted, weights)
    rows, width = wanted[table].shape
    tokens: list[str] = []
    added: list[Vectors] = []
    for word in sorted(vectors):
        own = _for(encoder.component, vectors[word], width, files[word])
        tokens += tokens_of(word, len(own))
        added.append(own)
    _add_tokens(folder / encoder.tokenizer / layout.TOKENIZER, tokens, rows)
    made = np.concatenate(added).astype(_STORED[weights[table].dtype])
    stored = write_safetensors(graph.parent / FILE, {table: of_array(made)})[table]
    piece = Piece(FILE, stored.offset, stored.size)
    weights[table] = Weight(weights[table].dtype, (*weights[table].pieces, piece))
    larger = slot(table, Slot(wanted[table].dtype, (rows + len(made), width)))
    before = slot(table, wanted[table])
    fields = [larger if one.raw == before else one.raw for one in read_fields(graph_of(template))]
    graph.unlink()  # it may be a link to the graph that it was made from
    graph.write_bytes(bind(with_graph(template, fields), weights))
    return {word: len(_for(encoder.component, vectors[word], width, files[word])) for word in files}


def misfit(bundle: Bundle, path: Path) -> str | None:
    """Why a textual inversion is none for this bundle's text encoders; None where it is one.

    Raises CheckpointError where it is no textual inversion; BundleError where the tables are not as
    CLIP's are."""
    vectors, manifest = read_vectors(path), bundle.manifest
    for encoder in manifest.text.encoders:
        if encoder.kind == "clip":
            graph = bundle.folder / manifest.components[encoder.component].graph
            template, weights = unbind(graph.read_bytes())
            wanted = slots(template)
            width = wanted[_table(graph, wanted, weights)].shape[1]
            try:
                _for(encoder.component, vectors, width, path)
            except CheckpointError as error:
                return str(error)
    return None


def tokens_of(word: str, vectors: int) -> list[str]:
    """The tokens that a word of so many vectors is."""
    return [word, *(f"{word}_{at}" for at in range(1, vectors))]


def _table(graph: Path, wanted: Mapping[str, Slot], weights: Mapping[str, Weight]) -> str:
    """The name of the table of token embeddings."""
    tables = [name for name in wanted if name.endswith(_TABLE)]
    if len(tables) != 1 or weights[tables[0]].dtype not in _STORED:
        raise BundleError(f"{graph}: expected one table of token embeddings, stored in floats")
    return tables[0]


def _for(component: str, vectors: Mapping[str | None, Vectors], width: int, path: Path) -> Vectors:
    found = vectors.get(component, vectors.get(None))
    if found is None or found.shape[1] != width:
        got = "none" if found is None else f"{found.shape[1]}"
        raise CheckpointError(
            f"{path}: expected vectors of width {width} for {component}, got {got}; the embedding "
            "is for another family"
        )
    return found


def _add_tokens(path: Path, tokens: list[str], first: int) -> None:
    """Add `tokens` to the tokenizer at `path`, whose numbers begin at `first`."""
    said: dict[str, Any] = json.loads(path.read_text("utf-8"))
    vocabulary = said["model"]["vocab"]
    there = {*vocabulary, *(one["content"] for one in said.get("added_tokens", ()))}
    if taken := [token for token in tokens if token in there]:
        raise UsageError(f"embedding: {taken[0]!r} is a word of the model's; choose another")
    last = max([*vocabulary.values(), *(one["id"] for one in said.get("added_tokens", ()))])
    if last + 1 != first:
        raise BundleError(
            f"{path}: its tokens end at {last}, and the table of embeddings has {first} rows"
        )
    said["added_tokens"] = [
        *said.get("added_tokens", ()),
        *(
            {
                "id": first + at,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": True,
                "special": False,
            }
            for at, token in enumerate(tokens)
        ),
    ]
    path.unlink()
    path.write_text(json.dumps(said, ensure_ascii=False), "utf-8")
