"""An exported graph against torch: same weights, same inputs, largest difference.

Reference: the network as diffusers and transformers load it, in float32. The graph: as a bundle's
user will run it, by ONNX Runtime from the bundle's own files. Two cases: the smallest sizes that
the ranges allow with one image, and odd unequal sides with three.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from overpaint.bundle import layout
from overpaint.bundle.errors import ParityError
from overpaint.bundle.format.manifest import Parity
from overpaint.bundle.tensor import Range, Tensor
from overpaint.engines.onnxruntime.library import import_onnxruntime

from .part import Part

LIMITS: Final = {"float32": 1e-4, "float16": 2e-2}
_SIZES: Final = (
    {"batch": 1, "tokens": 1, "height": 1, "width": 1, "references": 0},
    {"batch": 3, "tokens": 77, "height": 9, "width": 11, "references": 30},
)
"""In units of a range's multiple; heights and widths are those of pixels and of latents alike."""

Array = npt.NDArray[Any]
Reference = list[tuple[dict[str, Array], list[Array]]]


def reference(part: Part, net: Any) -> Reference:
    """Inputs, and what torch makes of them. `net` has the checkpoint's weights, in float32."""
    module = part.module(net)
    generator = torch.Generator().manual_seed(0)
    cases = []
    for sizes in _SIZES:
        feed = {t.name: _random(t, part, sizes, generator) for t in part.inputs}
        with torch.inference_mode():
            outputs = module(*feed.values())
        arrays = {name: tensor.numpy() for name, tensor in feed.items()}
        cases.append((arrays, [output.numpy() for output in outputs]))
    return cases


def measure(part: Part, folder: Path, cases: Reference) -> Parity:
    """Run the graph in `folder` on the reference's inputs.

    Raises:
        ParityError: an output's largest error is more than the limit times its largest value.
    """
    limit = LIMITS[part.compute]
    session = import_onnxruntime().InferenceSession(
        folder / layout.GRAPH, providers=["CPUExecutionProvider"]
    )
    worst = Parity(max_abs_error=0.0, max_abs_reference=0.0, limit=limit)
    for feed, wanted in cases:
        for name, parity in _compare(part, session.run(None, feed), wanted, limit):
            if not parity.max_abs_error <= limit * parity.max_abs_reference:
                raise ParityError(
                    f"{part.component}: {name} differs from torch by up to "
                    f"{parity.max_abs_error:.3g}; with values up to "
                    f"{parity.max_abs_reference:.3g}, at most "
                    f"{limit * parity.max_abs_reference:.3g} is allowed ({part.compute}). "
                    "Nothing was written"
                )
            worst = max(worst, parity, key=_quotient)
    return worst


def _compare(
    part: Part, outputs: list[Array], wanted: list[Array], limit: float
) -> Iterator[tuple[str, Parity]]:
    for tensor, ours, theirs in zip(part.outputs, outputs, wanted, strict=True):
        yield (
            tensor.name,
            Parity(
                max_abs_error=float(np.abs(ours - theirs).max()),
                max_abs_reference=float(np.abs(theirs).max()),
                limit=limit,
            ),
        )


def _quotient(parity: Parity) -> float:
    return parity.max_abs_error / parity.max_abs_reference if parity.max_abs_reference else 0.0


def _random(
    tensor: Tensor, part: Part, sizes: Mapping[str, int], generator: torch.Generator
) -> torch.Tensor:
    """Values such as a run feeds: of unit size, but for what has a meaning of its own."""
    shape = [s if isinstance(s, int) else _side(s, part.ranges[s], sizes) for s in tensor.shape]
    rows = _side("tokens", part.ranges["tokens"], sizes) if "tokens" in part.ranges else 0
    draw: dict[str, Callable[[], torch.Tensor]] = {
        "attention_mask": lambda: _of_prompts(shape, generator),
        "caption_length": lambda: torch.randint(1, 1 + rows, shape, generator=generator),
        "input_ids": lambda: torch.randint(part.config["vocab_size"], shape, generator=generator),
        "reference_places": lambda: torch.randint(30, shape, generator=generator).float(),
        "timestep": lambda: torch.randint(1000, shape, generator=generator).float(),
        "time_ids": lambda: torch.randint(1024, shape, generator=generator).float(),
    }
    return draw.get(tensor.name, lambda: torch.randn(shape, generator=generator))()


def _of_prompts(shape: list[int], generator: torch.Generator) -> torch.Tensor:
    """Ones for the tokens of prompts, zeros behind them."""
    own = torch.randint(1, 1 + shape[1], (shape[0], 1), generator=generator)
    return (torch.arange(shape[1])[None] < own).long()


def _side(name: str, values: Range, sizes: Mapping[str, int]) -> int:
    units = sizes[name.removeprefix("latent_")]
    return max(values.minimum, min(units * values.multiple, values.maximum))
