"""A denoiser's graph is given inputs for residuals, and is otherwise what it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from overpaint.bundle.checkpoint.link import place
from overpaint.bundle.control.residuals import sizes_of, with_residuals
from overpaint.bundle.errors import BundleError
from overpaint.bundle.files.json import read_json
from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.graph.nodes import nodes
from overpaint.bundle.graph.proto import graph_of, with_graph
from overpaint.bundle.graph.wire import read_fields
from overpaint.bundle.importing.library import open_library

Array = npt.NDArray[Any]

SKIPS = {"sd1.5": 12, "sd2.1": 12, "sdxl-base": 9, "sdxl-refiner": 12}
BLOCKS = {"sd3-medium": 23, "sd3.5-medium": 23, "sd3.5-large": 37}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(("name", "count"), [*SKIPS.items(), *BLOCKS.items()])
def test_every_denoiser_that_the_wheel_carries_can_be_controlled(
    name: str, count: int, dtype: str
) -> None:
    library = open_library()
    architecture = library.architectures[name]
    denoiser = "unet" if "unet" in architecture.configs else "transformer"
    graph = library.graphs(name, dtype)[denoiser]
    component = library.index.graphs[graph].component
    model, changed = with_residuals(
        library.template(graph), component, architecture.configs[denoiser]
    )
    new = [one for one in changed.inputs if one not in component.inputs]
    assert len(new) == count + (name in SKIPS), "the middle's besides"
    added = nodes(list(read_fields(graph_of(model))), "Add")
    given = {one.name for one in new}
    joined = {name.removesuffix(":cast") for one in added for name in one.inputs}
    assert given <= joined


@pytest.mark.parametrize("family", ["sd1", "sd3"])
def test_without_residuals_it_gives_the_same_bits_and_with_them_others(
    family: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    bundle = open_bundle(request.getfixturevalue(f"tiny_{family}_bundle"))
    manifest = bundle.manifest
    component = manifest.components[manifest.denoiser]
    graph = bundle.folder / component.graph
    model, changed = with_residuals(
        graph.read_bytes(), component, read_json(graph.parent / "config.json")
    )
    (tmp_path / "model.onnx").write_bytes(model)
    for file in graph.parent.glob("*.safetensors"):
        place(file, tmp_path / file.name)
    height, width = (8, 12) if family == "sd3" else (9, 11)
    sizes = {"batch": 2, "tokens": 77, **sizes_of(height, width, 2)}
    rng = np.random.default_rng(0)
    feed = {
        one.name: np.asarray(
            rng.standard_normal([sizes.get(str(side), side) for side in one.shape]), np.float32
        )
        for one in changed.inputs
    }
    plain = {one.name: feed[one.name] for one in component.inputs}
    zeros = {name: np.zeros_like(feed[name]) for name in feed if name not in plain}
    [before] = run(graph, plain)
    assert np.array_equal(before, run(tmp_path / "model.onnx", plain | zeros)[0])
    for name in zeros:
        moved = run(tmp_path / "model.onnx", plain | zeros | {name: feed[name]})[0]
        assert not np.array_equal(before, moved), f"{name} has a say"


def run(graph: Path, feed: dict[str, Array]) -> list[Array]:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return list(session.run(None, feed))


def test_a_graph_that_is_built_otherwise_is_refused(tiny_sd1_bundle: Path) -> None:
    bundle = open_bundle(tiny_sd1_bundle)
    component = bundle.component("unet")
    graph = bundle.folder / component.graph
    model, config = graph.read_bytes(), read_json(graph.parent / "config.json")
    fields = list(read_fields(graph_of(model)))
    joins = [one.at for one in nodes(fields, "Concat") if one.has({"axis": 1})]
    fewer = with_graph(model, [one.raw for at, one in enumerate(fields) if at != joins[-1]])
    with pytest.raises(BundleError, match=r"expected 8 skips .* got 7"):
        with_residuals(fewer, component, config)
    twice = with_residuals(model, component, config)
    with pytest.raises(BundleError, match="takes residuals already"):
        with_residuals(*twice, config)
