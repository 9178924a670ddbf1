"""What this machine can do at best: float32 matrix products, and reading memory. Measured here."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import numpy as np

from overpaint.engines.host.cores import usable_cores
from overpaint.engines.onnxruntime.cpu.engine import PROVIDER
from overpaint.engines.onnxruntime.library import import_onnxruntime, session_options

from .graph_shapes import import_onnx

_SIDE = 2048
_REPEATS = 40
_MB = 256  # for each thread, larger than any cache


def matrix_gflops() -> float:
    """The best of forty products of two 2048 x 2048 matrices in ONNX Runtime, on all cores."""
    onnx, runtime = import_onnx(), import_onnxruntime()
    sides = [_SIDE, _SIDE]
    tensor = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["a", "b"], ["c"])],
        "product",
        [tensor("a", 1, sides), tensor("b", 1, sides)],
        [tensor("c", 1, sides)],
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10
    )
    options = session_options(runtime, usable_cores())
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=[PROVIDER])
    a = np.random.default_rng(0).standard_normal(sides, np.float32)
    feed = {"a": a, "b": a}
    return 2 * _SIDE**3 / _best(lambda: session.run(None, feed)) / 1e9


def bandwidth_gbs() -> float:
    """The best of forty readings of memory by all cores, each its own 256 MB."""
    threads = usable_cores()
    blocks = [np.ones(_MB * 10**6 // 8, np.float64) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        seconds = _best(lambda: list(pool.map(np.max, blocks)))
    return threads * _MB / 1e3 / seconds


def _best(work: Callable[[], object]) -> float:
    """Seconds of the fastest of several, after one that does not count."""
    times = []
    for _ in range(_REPEATS + 1):
        started = perf_counter()
        work()
        times.append(perf_counter() - started)
    return min(times[1:])
