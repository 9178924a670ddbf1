# ruff: noqa: T201
"""How exactly ONNX Runtime's instance normalization takes a group of channels, and torch's group
norm: pictures with noise, and flat ones, as an inpainting checkpoint is shown under a mask.

    python bench/studies/norm_exactness.py

Each against float64. A group is 4 channels, as in the first level of Stable Diffusion's VAE; a flat
channel is one number.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from onnx import TensorProto, helper

GROUPS: Final = 32
CHANNELS: Final = 4  # of a group
EPSILON: Final = 1e-6
SIDES: Final = (64, 256, 512)

Floats = npt.NDArray[Any]


def session() -> onnxruntime.InferenceSession:
    """InstanceNormalization of (1, groups, values)."""
    node = helper.make_node("InstanceNormalization", ["x", "one", "zero"], ["y"], epsilon=EPSILON)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, GROUPS, "values"])
        for name in ("x", "y")
    ]
    affine = [
        helper.make_tensor(name, TensorProto.FLOAT, [GROUPS], [value] * GROUPS)
        for name, value in (("one", 1.0), ("zero", 0.0))
    ]
    graph = helper.make_graph([node], "norm", ends[:1], ends[1:], affine)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def exact(x: Floats) -> Floats:
    """(1, groups, values) normalized, in float64."""
    wide = x.astype(np.float64)
    spread = np.sqrt(wide.var(2, keepdims=True) + EPSILON)
    normalized: Floats = (wide - wide.mean(2, keepdims=True)) / spread
    return normalized


def by_torch(x: Floats) -> Floats:
    """The same as torch's group norm has it."""
    channels = torch.from_numpy(x).reshape(1, GROUPS * CHANNELS, -1)
    normalized: Floats = torch.nn.functional.group_norm(channels, GROUPS, eps=EPSILON).numpy()
    return normalized.reshape(x.shape)


def main() -> None:
    """Print the largest error of each, in deviations of the group, as a table."""
    norm, rng = session(), np.random.default_rng(0)
    print("| | picture | ONNX Runtime | torch |\n|---|---|---:|---:|")
    for side in SIDES:
        for kind in ("noise", "flat"):
            means = rng.standard_normal((1, GROUPS, CHANNELS, 1), dtype=np.float32)
            x = np.repeat(means, side * side, axis=3)
            if kind == "noise":
                x += rng.standard_normal(x.shape, dtype=np.float32)
            x = x.reshape(1, GROUPS, -1)
            wanted = exact(x)
            [ours] = norm.run(None, {"x": x})
            errors = [np.abs(made - wanted).max() for made in (ours, by_torch(x))]
            print(f"| {side}x{side} | {kind} | {errors[0]:.1e} | {errors[1]:.1e} |", flush=True)


if __name__ == "__main__":
    main()
