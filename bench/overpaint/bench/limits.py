"""How far from the limit: the floor of each engine on this machine, and the share of it reached.

The floor is a roofline taken node by node (Williams, Waterman and Patterson, 2009): no node is
faster than its arithmetic at the measured matrix rate, nor than its weights at the measured
bandwidth. It belongs to float32 arithmetic; an engine in another precision has no floor here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from overpaint.bundle import layout
from overpaint.bundle.format.bundle import Bundle

from .graph_cost import NodeCost, graph_cost
from .rates import bandwidth_gbs, matrix_gflops
from .records import EngineLimit, Limits, Run, Stage

_BYTES: Final = {"float32": 4}
_STAGES: Final = {layout.VAE_ENCODER: "encode", layout.VAE_DECODER: "decode"}


def limits(bundle: Bundle, run: Run) -> Limits:
    """The limits of the engines of `run`, an overpaint run that was measured here and now.

    Raises:
        MissingExtraError: the onnx package is not installed.
        OverpaintError: a graph's shapes cannot be inferred.
    """
    gflops, gbs = matrix_gflops(), bandwidth_gbs()
    engines = tuple(_engines(bundle, run, gflops, gbs))
    return Limits(matrix_gflops=round(gflops, 1), bandwidth_gbs=round(gbs, 2), engines=engines)


def _engines(bundle: Bundle, run: Run, gflops: float, gbs: float) -> Iterator[EngineLimit]:
    assert run.work is not None
    stages = {stage.name: stage for stage in run.stages}
    for component, calls, stage in _called(bundle, run, stages):
        if (width := _BYTES.get(run.work.precision[component])) is None:
            continue
        sizes = dimension_sizes(bundle, run.work.size, calls)
        graph = bundle.folder / bundle.component(component).graph
        nodes = graph_cost(graph, sizes, rewritten="CPU" in (run.device or ""))
        floor = floor_ms(nodes, gflops, gbs, width)
        yield EngineLimit(
            component=component,
            gflop=round(sum(node.flop for node in nodes) / 1e9, 4),
            weights_mb=round(sum(node.weights for node in nodes) * width / 1e6, 2),
            floor_ms=round(floor, 4),
            measured_ms=stage.p50_ms,
            share=round(floor / stage.p50_ms, 4),
        )


def _called(
    bundle: Bundle, run: Run, stages: Mapping[str, Stage]
) -> Iterator[tuple[str, int, Stage]]:
    """(component, batch of one call, stage that is that call) for those that one stage times."""
    work = run.work
    assert work is not None
    if work.images == 1:  # the decoder's stage is one call for each image
        for component, name in _STAGES.items():
            if name in stages:
                yield component, 1, stages[name]
    if "step, engine" in stages:
        yield bundle.manifest.denoiser, work.images * (1 + work.guidance), stages["step, engine"]


def floor_ms(nodes: Sequence[NodeCost], gflops: float, gbs: float, width: int) -> float:
    """The sum over nodes of what bounds each: arithmetic, or weights of `width` bytes a value."""
    return sum(max(n.flop / gflops, n.weights * width / gbs) / 1e6 for n in nodes)


def dimension_sizes(bundle: Bundle, size: tuple[int, int], batch: int) -> dict[str, int]:
    """The graphs' symbolic dimensions at `size` (width, height)."""
    cell = bundle.manifest.latents.downscale
    width, height = size
    return {
        "batch": batch,
        "width": width,
        "height": height,
        "latent_width": width // cell,
        "latent_height": height // cell,
        "tokens": max(encoder.length for encoder in bundle.manifest.text.encoders),
    }
