# ruff: noqa: T201
"""How exactly a group norm is taken: by ONNX Runtime's instance normalization, as we write it out
for a picture's encoder, and by torch. Pictures with noise, and flat ones, as an inpainting
checkpoint is shown under a mask.

    python bench/studies/norm_exactness.py

Each against float64. A group is 4 channels, as in the first level of Stable Diffusion's VAE. A flat
channel is one number; in the last kind the channels of a group are the same number.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from overpaint.engines.onnxruntime.cpu.norms import normalize_exactly

GROUPS: Final = 32
CHANNELS: Final = 4  # of a group
EPSILON: Final = 1e-6
SIDES: Final = (64, 256, 512)

Floats = npt.NDArray[Any]


def model() -> bytes:
    """A group norm as our graphs have it: instance normalization between two reshapes."""
    nodes = [
        helper.make_node("Reshape", ["x", "groups"], ["rows"]),
        helper.make_node(
            "InstanceNormalization", ["rows", "one", "zero"], ["normal"], epsilon=EPSILON
        ),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Reshape", ["normal", "shape"], ["y"]),
    ]
    ends = [
        helper.make_tensor_value_info(
            name, TensorProto.FLOAT, [1, GROUPS * CHANNELS, "height", "width"]
        )
        for name in ("x", "y")
    ]
    constants = [
        numpy_helper.from_array(np.ones(GROUPS, np.float32), "one"),
        numpy_helper.from_array(np.zeros(GROUPS, np.float32), "zero"),
        numpy_helper.from_array(np.array([0, GROUPS, -1]), "groups"),
    ]
    graph = helper.make_graph(nodes, "norm", ends[:1], ends[1:], constants)
    opset = helper.make_opsetid("", 20)
    made: bytes = helper.make_model(graph, opset_imports=[opset], ir_version=10).SerializeToString()
    return made


def run(session: onnxruntime.InferenceSession, x: Floats) -> Floats:
    """Of a picture (1, channels, height, width)."""
    [y] = session.run(None, {"x": x})
    return np.asarray(y)


def exact(x: Floats) -> Floats:
    """The same in float64."""
    wide = x.astype(np.float64).reshape(1, GROUPS, -1)
    spread = np.sqrt(wide.var(2, keepdims=True) + EPSILON)
    normalized: Floats = (wide - wide.mean(2, keepdims=True)) / spread
    return normalized.reshape(x.shape)


def by_torch(x: Floats) -> Floats:
    """The same as torch's group norm has it."""
    normalized: Floats = torch.nn.functional.group_norm(
        torch.from_numpy(x), GROUPS, eps=EPSILON
    ).numpy()
    return normalized


def picture(kind: str, side: int, rng: np.random.Generator) -> Floats:
    """(1, channels, side, side)."""
    means = rng.standard_normal((1, GROUPS * CHANNELS, 1, 1), dtype=np.float32)
    if kind == "one number":
        means = np.repeat(means[:, ::CHANNELS], CHANNELS, axis=1)
    x = np.tile(means, (1, 1, side, side))
    if kind == "noise":
        x += rng.standard_normal(x.shape, dtype=np.float32)
    return x


def main() -> None:
    """Print the largest error of each, in deviations of the group, as a table."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    written_out = normalize_exactly(model())
    assert written_out is not None
    norm, ours = (
        onnxruntime.InferenceSession(one, options, providers=["CPUExecutionProvider"])
        for one in (model(), written_out)
    )
    rng = np.random.default_rng(0)
    print("| | picture | ONNX Runtime | written out | torch |\n|---|---|---:|---:|---:|")
    for side in SIDES:
        for kind in ("noise", "flat", "one number"):
            x = picture(kind, side, rng)
            wanted = exact(x)
            made = (run(norm, x), run(ours, x), by_torch(x))
            errors = " | ".join(f"{np.abs(one - wanted).max():.1e}" for one in made)
            print(f"| {side}x{side} | {kind} | {errors} |", flush=True)


if __name__ == "__main__":
    main()
