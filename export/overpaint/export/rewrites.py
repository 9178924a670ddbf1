"""What of an exported graph is written otherwise, so that engines see what it is."""

from __future__ import annotations

from typing import Any, Final

from onnxscript.rewriter.pattern import RewriteRule
from onnxscript.rewriter.rules import common


def _times_reciprocal_root(op: Any, x: Any, square: Any) -> Any:
    return op.Mul(x, op.Reciprocal(op.Sqrt(square)))


def _divided_by_root(op: Any, x: Any, square: Any) -> Any:
    return op.Div(x, op.Sqrt(square))


REWRITES: Final = (
    common.div_by_1_rule,
    common.mul_by_1_rule,
    common.unsqueeze_unsqueeze_rule,
    common.transpose_transpose_rule,
    # Root mean square normalization (Zhang and Sennrich, 2019) as torch.rsqrt has it. ONNX Runtime
    # makes one kernel of it where it divides, and eight operators where it multiplies.
    RewriteRule(_times_reciprocal_root, _divided_by_root, name="DivideByRoot"),
)
"""onnxscript's own selection of rules takes ten times as long, and finds nothing more in these
networks."""
