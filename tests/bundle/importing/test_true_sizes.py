"""A checkpoint of true size is imported, and every weight of its bundle is followed to its bytes.

The files are as long as published ones, 33 GB for FLUX.1, and take next to no room on disk: of
each tensor only a mark is written, where it begins and where each part of a fused layer does.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from stored_tensors import (
    Shapes,
    Sources,
    in_folder,
    in_single_file,
    stored_shapes,
    write_configs,
    write_json,
)

from overpaint.bundle import layout
from overpaint.bundle.checkpoint.source import Rows
from overpaint.bundle.graph.weights import Piece, unbind
from overpaint.bundle.importing import import_checkpoint
from overpaint.bundle.importing.library import Library, open_library
from overpaint.bundle.importing.recognise import slots_of

SHARD = 9_000_000_000
"""Bytes. Components that are larger lie in two files, as published ones do."""
HALF = 2
"""Bytes of a number: everything is stored in bfloat16."""

LARGE = ["sd3.5-large", "flux.1-dev", "flux.1-schnell", "z-image-turbo", "flux.2-klein-4b"]
SIZES = ["sd1.5", *(pytest.param(name, marks=pytest.mark.parity) for name in LARGE)]


def placed(
    where: Callable[[Library, str, str], Sources], library: Library, name: str
) -> dict[str, Sources]:
    """Where the weights of each component lie."""
    return {one: where(library, name, one) for one in library.architectures[name].configs}


def mark(part: Rows, size: int) -> bytes:
    """What a part of a tensor, of `size` bytes, begins with."""
    return hashlib.sha256(f"{part.name} {part.part}/{part.of}".encode()).digest()[: min(size, 16)]


def write(file: Path, shapes: Shapes, parts: Iterable[Rows]) -> None:
    """A safetensors file of these tensors: zeros that lie nowhere, and the parts' marks."""
    header, begins, end = {}, {}, 0
    for name, shape in shapes.items():
        begins[name], size = end, HALF * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": (end, end + size)}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as to:
        to.write(len(text).to_bytes(8, "little") + text)
        to.truncate(8 + len(text) + end)
        for part in parts:
            size = HALF * math.prod(shapes[part.name]) // part.of
            to.seek(8 + len(text) + begins[part.name] + size * part.part)
            to.write(mark(part, size))


def parts_of(sources: Sources) -> set[Rows]:
    return {part for source in sources.values() for part in source.rows}


def write_folder(library: Library, name: str, folder: Path, without: Iterable[str] = ()) -> None:
    """Configs, tokenizers and weights as diffusers saves them, in shards where they are large."""
    components = library.architectures[name].configs
    write_configs(library, name, folder, components)
    for component in components.keys() - without:
        sources = in_folder(library, name, component)
        shapes = stored_shapes(slots_of(library, name, component), sources)
        stem = "model" if component in layout.TEXT_ENCODERS else "diffusion_pytorch_model"
        names = list(shapes)
        large = HALF * sum(map(math.prod, shapes.values())) > SHARD
        halves = (names[::2], names[1::2]) if large else (names,)
        where = {}
        for at, half in enumerate(halves, 1):
            file = f"{stem}-{at:05}-of-00002.safetensors" if large else f"{stem}.safetensors"
            held = {key: shapes[key] for key in half}
            marks = [part for part in parts_of(sources) if part.name in held]
            write(folder / component / file, held, marks)
            where |= dict.fromkeys(half, file)
        if large:
            index = {"metadata": {}, "weight_map": where}
            write_json(folder / component / f"{stem}.safetensors.index.json", index)


def begins_with(folder: Path, pieces: Iterable[Piece], at: int, size: int) -> bytes:
    """`size` bytes from `at` on of what the pieces are, one after the other."""
    for piece in pieces:
        if at < piece.length:
            with (folder / piece.location).open("rb") as file:
                file.seek(piece.offset + at)
                return file.read(size)
        at -= piece.length
    raise AssertionError(f"the pieces end {at} bytes before")


def followed(library: Library, name: str, bundle: Path, sources: dict[str, Sources]) -> int:
    """Each weight of the bundle's graphs, compared with the marks of where it lies: how many."""
    count = 0
    for component, graph in library.graphs(name, "float32").items():
        source = "vae" if component in (layout.VAE_ENCODER, layout.VAE_DECODER) else component
        _, weights = unbind((bundle / component / layout.GRAPH).read_bytes())
        slots = library.slots(graph)
        assert weights.keys() == slots.keys()
        for key, slot in slots.items():
            rows, turned = sources[source][key]
            pieces = weights[key].pieces
            numbers = math.prod(slot.shape)
            if turned or not rows:  # computed, and written beside the graph
                assert key == "text_projection.weight"
                continue
            assert sum(piece.length for piece in pieces) == HALF * numbers
            size = HALF * numbers // len(rows)
            for at, part in enumerate(rows):
                wanted = mark(part, size)
                found = begins_with(bundle / component, pieces, at * size, len(wanted))
                assert found == wanted, f"{component}: {key}: {part}"
            count += 1
    return count


@pytest.fixture(scope="module")
def library() -> Library:
    return open_library()


@pytest.fixture
def tokenizers(request: pytest.FixtureRequest, name: str, library: Library) -> Path | None:
    """A folder with the tokenizer that the package does not carry, where `name` needs one."""
    family = library.architectures[name].family
    given = {"sd3": "tiny_sd3", "flux1": "tiny_flux1", "z-image": "tiny_z_image"}
    fixture = (given | {"flux2-klein": "tiny_klein"}).get(family)
    return None if fixture is None else request.getfixturevalue(fixture)


def with_tokenizers(folder: Path, given: Path | None) -> Path:
    """The folder, with those tokenizers of `given` that it lacks."""
    for one in () if given is None else given.glob("tokenizer*"):
        if not (folder / one.name).exists():
            shutil.copytree(one, folder / one.name)
    return folder


@pytest.mark.parametrize("name", SIZES)
def test_a_folders_weights_are_pointed_at_where_they_lie(
    name: str, library: Library, tokenizers: Path | None, tmp_path: Path
) -> None:
    write_folder(library, name, tmp_path / "checkpoint")
    checkpoint = with_tokenizers(tmp_path / "checkpoint", tokenizers)
    made = import_checkpoint(checkpoint, tmp_path / "bundle", link="link")
    assert library.architectures[made.architecture].graphs == library.architectures[name].graphs
    sources = placed(in_folder, library, name)
    assert followed(library, name, tmp_path / "bundle", sources) > len(sources["vae"])


@pytest.mark.parametrize("name", SIZES)
def test_a_single_files_weights_are_pointed_at_where_they_lie(
    name: str, library: Library, tokenizers: Path | None, tmp_path: Path
) -> None:
    """FLUX's and Z-Image's hold the denoiser alone, and the rest is a folder's."""
    sources, rest = placed(in_single_file, library, name), None
    held = set(sources)
    if library.architectures[name].family in ("flux1", "z-image", "flux2-klein"):
        write_folder(library, name, tmp_path / "rest", without=["transformer"])
        rest = with_tokenizers(tmp_path / "rest", tokenizers)
        held = {"transformer"}
        sources = placed(in_folder, library, name) | {"transformer": sources["transformer"]}
    shapes: Shapes = {}
    for component in held:
        shapes |= stored_shapes(slots_of(library, name, component), sources[component])
    parts = {part for component in held for part in parts_of(sources[component])}
    file = tmp_path / "model.safetensors"
    write(file, shapes, parts)
    made = import_checkpoint(
        file,
        tmp_path / "bundle",
        link="link",
        rest=rest,
        like=name,
        tokenizer=None if rest else tokenizers,
    )
    assert made.architecture == name
    assert followed(library, name, tmp_path / "bundle", sources) > len(sources["vae"])
