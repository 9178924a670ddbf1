"""The packaged architectures are those of the true models, made by this code, and small."""

from __future__ import annotations

import hashlib
import itertools
import lzma
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from stored_tensors import in_single_file, stored_shapes
from tests.checkpoints import clip_vocabulary

from overpaint.bundle import layout
from overpaint.bundle.checkpoint.bind import bind_into
from overpaint.bundle.checkpoint.match import Found, resolve
from overpaint.bundle.checkpoint.safetensors import Stored
from overpaint.bundle.checkpoint.tensors import Tensors, folder_tensors, single_file_tensors
from overpaint.bundle.families import FAMILIES
from overpaint.bundle.graph.weights import unbind
from overpaint.bundle.importing.clip_vocabulary import vocabulary
from overpaint.bundle.importing.library import MERGES, PACKAGED, Library, open_library
from overpaint.bundle.importing.recognise import recognise, slots_of
from overpaint.export import library as making
from overpaint.export.families import ARCHITECTURES
from overpaint.export.trace import trace

PARAMETERS = {
    # as the models' own cards and papers count them, or diffusers and transformers do
    ("sd1.5", "unet"): 859_520_964,
    ("sd1.5-inpainting", "unet"): 859_535_364,
    ("sd1.5", "vae"): 83_653_863,
    ("sd1.5", "text_encoder"): 123_060_480,
    ("sd2.1", "unet"): 865_910_724,
    ("sd2-inpainting", "unet"): 865_925_124,
    ("sd2.1", "text_encoder"): 340_387_840,
    ("sdxl-base", "unet"): 2_567_463_684,
    ("sdxl-inpainting", "unet"): 2_567_478_084,
    ("sdxl-base", "text_encoder_2"): 694_659_840,
    ("sdxl-refiner", "unet"): 2_259_526_660,
    ("sd3-medium", "transformer"): 2_028_328_000,
    ("sd3-medium", "vae"): 83_819_683,
    ("sd3-medium", "text_encoder"): 123_650_304,
    ("sd3-medium", "text_encoder_3"): 4_762_310_656,
    ("sd3.5-medium", "transformer"): 2_243_171_520,
    ("sd3.5-large", "transformer"): 8_056_627_520,
    ("flux.1-dev", "transformer"): 11_901_408_320,
    ("flux.1-schnell", "transformer"): 11_891_178_560,
    ("flux.1-dev", "text_encoder_2"): 4_762_310_656,
    ("z-image-turbo", "transformer"): 6_154_908_736,
    ("flux.2-klein-4b", "transformer"): 3_875_544_576,
    ("flux.2-klein-4b", "vae"): 84_046_115,
}


@pytest.fixture(scope="module")
def library() -> Library:
    return open_library()


@pytest.mark.parametrize(("name", "component"), PARAMETERS)
def test_a_packaged_architecture_has_its_models_parameters(
    name: str, component: str, library: Library
) -> None:
    slots = slots_of(library, name, component)
    kept = {"pos_embed.pos_embed", "bn.running_mean", "bn.running_var"}
    buffers = sum(math.prod(slots[key].shape) for key in slots if key in kept)
    total = sum(math.prod(slot.shape) for slot in slots.values())
    assert total - buffers == PARAMETERS[name, component]


def test_every_architecture_that_is_written_down_is_packaged(library: Library) -> None:
    assert list(library.architectures) == list(ARCHITECTURES)
    for name, architecture in ARCHITECTURES.items():
        packaged = library.architectures[name]
        assert packaged.like == architecture.like
        assert packaged.pads == architecture.pads
        assert set(packaged.configs) == set(architecture.components)
        assert packaged.scheduler["_class_name"] == architecture.scheduler[0]
        assert packaged.scheduler.items() >= architecture.scheduler[1].items()
        for component, (_, _, config) in architecture.components.items():
            assert packaged.configs[component].items() >= config.items()


def test_the_packaged_graphs_are_of_these_configs_and_this_exporter(library: Library) -> None:
    """After a change to either: python -m overpaint.export.library"""
    assert library.index.exporter == making.exporter_hash()
    for name, architecture in ARCHITECTURES.items():
        for dtype, graphs in library.architectures[name].graphs.items():
            configs = library.architectures[name].configs
            for part in making._parts(architecture, configs, dtype):
                graph = library.index.graphs[graphs[part.component]]
                assert graph.traced_from == making.traced_from(part), (name, part.component)


def test_the_command_still_makes_a_packaged_graph_to_the_byte(library: Library) -> None:
    architecture = ARCHITECTURES["sd1.5"]
    configs = library.architectures["sd1.5"].configs
    parts = making._parts(architecture, configs, "float32")
    [part] = [part for part in parts if part.component == "text_encoder"]
    graph = library.index.graphs[library.graphs("sd1.5", "float32")["text_encoder"]]
    assert hashlib.sha256(trace(part)).hexdigest() == graph.sha256


def test_every_packaged_graph_is_whole_and_its_parity_is_known(library: Library) -> None:
    for name, graph in library.index.graphs.items():
        library.template(name)
        parity = graph.component.parity
        assert parity is not None
        assert parity.measured_on == "reduced"
        assert 0 < parity.max_abs_error <= parity.limit * parity.max_abs_reference
    stored = {path.name.removesuffix(".onnx.xz") for path in (PACKAGED / "graphs").iterdir()}
    assert stored == set(library.index.graphs)


def test_all_of_it_is_less_than_a_megabyte_and_a_half() -> None:
    assert sum(file.stat().st_size for file in PACKAGED.rglob("*") if file.is_file()) < 1_500_000


def test_the_packaged_vocabulary_is_clips(library: Library) -> None:
    merges = lzma.decompress((library.folder / MERGES).read_bytes()).decode()
    tokens, pairs = clip_vocabulary()
    assert vocabulary(merges) == tokens
    assert merges.splitlines() == [" ".join(pair) for pair in pairs]


def single_file_names(library: Library, name: str) -> Iterator[tuple[str, Stored]]:
    """The tensors of a single file of true size, by name and shape alone."""
    for component in library.architectures[name].configs:
        sources = in_single_file(library, name, component)
        for key, shape in stored_shapes(slots_of(library, name, component), sources).items():
            yield key, Stored(Path("model.safetensors"), key, "F16", shape, 0)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_true_checkpoints_are_recognised_as_files_and_as_folders(
    name: str, library: Library
) -> None:
    same = tuple(
        other
        for other in library.architectures
        if library.architectures[other].graphs == library.architectures[name].graphs
    )
    file = dict(single_file_names(library, name))

    def held(family: str, component: str) -> Tensors | None:
        place = FAMILIES[family].single_file.get(component)
        return None if place is None else single_file_tensors(file, place)

    as_file = recognise(library, held, "a file")
    assert as_file.names == same
    folders = {
        component: folder_tensors(
            {
                weight: Stored(Path("model.safetensors"), weight, "BF16", slot.shape, 0)
                for weight, slot in slots_of(library, name, component).items()
            }
        )
        for component in library.architectures[name].configs
    }
    as_folder = recognise(library, lambda family, one: folders.get(one), "a folder")
    assert as_folder.names == same


@pytest.mark.parametrize("name", ["sd3.5-large", "flux.1-dev", "z-image-turbo", "flux.2-klein-4b"])
def test_at_true_size_every_byte_of_a_file_is_pointed_at_once(
    name: str, library: Library, tmp_path: Path
) -> None:
    """As header and offsets; there are no such files here."""
    stored, end = {}, 0
    for key, tensor in single_file_names(library, name):
        if key not in stored:
            stored[key] = replace(tensor, file=tmp_path / "model.safetensors", offset=end)
            end += tensor.size
    family = FAMILIES[library.architectures[name].family]
    (tmp_path / "model.safetensors").touch()
    place, graph = family.single_file["transformer"], library.graphs(name, "float16")["transformer"]
    slots = library.slots(graph)
    tensors = single_file_tensors(stored, place)
    found = resolve(slots, tensors)
    assert found.complete
    (tmp_path / "transformer").mkdir()
    bind_into(tmp_path / "transformer", library.template(graph), slots, found.found, "auto", {})
    _, weights = unbind((tmp_path / "transformer" / layout.GRAPH).read_bytes())
    assert weights.keys() == slots.keys()
    spans = []
    for weight, slot in slots.items():
        assert sum(piece.length for piece in weights[weight].pieces) == 2 * math.prod(slot.shape)
        rows = [found.found[weight].stored[0].offset + at for at in _rows(found.found[weight])]
        assert rows == [piece.offset for piece in weights[weight].pieces], weight
        spans += [(piece.offset, piece.offset + piece.length) for piece in weights[weight].pieces]
    spans.sort()
    assert all(one[1] == other[0] for one, other in itertools.pairwise(spans))
    own = [one for key, one in stored.items() if key.startswith(place.prefix)]
    assert (spans[0][0], spans[-1][1]) == (own[0].offset, own[-1].offset + own[-1].size)


def _rows(found: Found) -> list[int]:
    """Where a weight's rows begin in its tensor, those that follow each other once."""
    [tensor] = set(found.stored)
    parts = [rows.part for rows in found.source.rows]
    first = [part for at, part in enumerate(parts) if at == 0 or parts[at - 1] != part - 1]
    return [tensor.size // found.source.rows[0].of * part for part in first]


def test_a_bundles_components_are_those_of_its_architecture(library: Library) -> None:
    for architecture in library.architectures.values():
        for graphs in architecture.graphs.values():
            expected = {*architecture.configs} - {"vae"} | {layout.VAE_ENCODER, layout.VAE_DECODER}
            assert set(graphs) == expected


def test_the_documentation_names_every_architecture() -> None:
    page = (Path(__file__).parents[3] / "docs" / "importing.md").read_text("utf-8")
    for like in open_library().index.architectures:
        assert f" | `{like}` |\n" in page
