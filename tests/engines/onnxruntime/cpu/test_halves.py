"""Large half-precision weights stay in their mapped file, which processes share."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.bundle.micro import external

from overpaint.bundle.format.manifest import Component
from overpaint.bundle.tensor import Tensor
from overpaint.engines.onnxruntime.cpu.engine import cpu_session
from overpaint.engines.onnxruntime.cpu.halves import leave_mapped, widened

SIDE = 2048
HALF_MB = SIDE * SIDE * 2 / 1e6
HALVES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
COMPONENT = Component(
    graph="model.onnx",
    inputs=(Tensor(name="rows", dtype="int64", shape=(2,)),),
    outputs=(Tensor(name="turned", dtype="float32", shape=(2, SIDE)),),
    ranges={},
)
LINUX = pytest.mark.skipif(
    not Path("/proc/self/smaps").exists(), reason="memory is measured by Linux's own counters"
)


def graph(folder: Path, side: int = SIDE, stored: str = "float16") -> Path:
    """Rows of a table times a matrix, both of side x side and stored in one file; as exported."""
    rng = np.random.default_rng(0)
    dtype: Any = HALVES.get(stored, np.float32)
    weights = [
        (rng.standard_normal((side, side), np.float32) / np.sqrt(side)).astype(dtype)
        for _ in range(2)
    ]
    (folder / "weights").write_bytes(b"".join(one.tobytes() for one in weights))
    tensors = [
        external(name, array, "weights", at * array.nbytes)
        for at, (name, array) in enumerate(zip(("table", "matrix"), weights, strict=True))
    ]
    nodes = [
        helper.make_node("Cast", ["table"], ["wide table"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["wide table", "rows"], ["found"]),
        helper.make_node("Cast", ["matrix"], ["wide matrix"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["wide matrix"], ["across"], perm=[1, 0]),
        helper.make_node("MatMul", ["found", "across"], ["turned"]),
    ]
    rows = helper.make_tensor_value_info("rows", TensorProto.INT64, [2])
    turned = helper.make_tensor_value_info("turned", TensorProto.FLOAT, [2, side])
    made = helper.make_graph(nodes, "g", [rows], [turned], tensors)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


@pytest.mark.parametrize("stored", HALVES)
def test_numbers_are_those_of_the_stored_halves(stored: str, tmp_path: Path) -> None:
    path = graph(tmp_path, stored=stored)
    halves = np.fromfile(tmp_path / "weights", HALVES[stored]).reshape(2, SIDE, SIDE)
    table, matrix = halves.astype(np.float32)
    with cpu_session("unet", path, COMPONENT) as session:
        turned = session.run({"rows": np.array([5, 7])})["turned"]
    np.testing.assert_allclose(turned, table[[5, 7]] @ matrix.T, atol=1e-5)


def test_of_a_table_only_what_is_looked_up_is_widened(tmp_path: Path) -> None:
    rewritten = leave_mapped(graph(tmp_path).read_bytes(), kernels=False)
    assert rewritten is not None
    operators = [node.op_type for node in onnx.load_from_string(rewritten).graph.node]
    assert operators == ["Gather", "Cast", "Cast", "Transpose", "MatMul"]


def test_what_is_small_or_stored_in_float32_stays_as_it_is(tmp_path: Path) -> None:
    """And is held in float32, all of it."""
    for side, stored in ((SIDE, "float32"), (256, "float16")):
        (tmp_path / stored).mkdir()
        path = graph(tmp_path / stored, side, stored)
        assert leave_mapped(path.read_bytes(), kernels=True) is None
        assert widened(path, kernels=True) == 2 * side * side
    assert widened(graph(tmp_path), kernels=False) == 0


def test_a_large_kernel_stays_where_memory_is_worth_time(tmp_path: Path) -> None:
    """And gives the same numbers as one that is widened."""
    rng = np.random.default_rng(0)
    halves = (rng.standard_normal((SIDE, SIDE, 1, 1), np.float32) / SIDE).astype(np.float16)
    (tmp_path / "weights").write_bytes(halves.tobytes())
    nodes = [
        helper.make_node("Cast", ["kernel"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["sample", "wide"], ["out"]),
    ]
    shape = (1, SIDE, 2, 2)
    given, made = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("sample", "out")
    )
    kernel = external("kernel", halves, "weights", 0)
    whole = helper.make_graph(nodes, "g", [given], [made], [kernel])
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    assert leave_mapped(path.read_bytes(), kernels=False) is None
    assert leave_mapped(path.read_bytes(), kernels=True) is not None
    assert (widened(path, kernels=False), widened(path, kernels=True)) == (halves.size, 0)
    component = Component(
        graph="model.onnx",
        inputs=(Tensor(name="sample", dtype="float32", shape=shape),),
        outputs=(Tensor(name="out", dtype="float32", shape=shape),),
        ranges={},
    )
    sample = rng.standard_normal(shape, np.float32)
    wanted = np.einsum("oi,bihw->bohw", halves[:, :, 0, 0].astype(np.float32), sample)
    for low_memory in (False, True):
        with cpu_session("unet", path, component, low_memory=low_memory) as session:
            out = session.run({"sample": sample})["out"]
        np.testing.assert_allclose(out, wanted, atol=1e-5)


PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from overpaint.engines.onnxruntime.cpu.engine import cpu_session
from overpaint.engines.onnxruntime.library import import_onnxruntime
from tests.engines.onnxruntime.cpu.test_halves import COMPONENT
import_onnxruntime()
own = lambda: int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0])
before = own()
session = cpu_session("unet", sys.argv[1], COMPONENT)
print((own() - before) * 1024 / 1e6, flush=True)
session.run({"rows": np.arange(2)})
print("ran", flush=True)
sys.stdin.read()
"""


@LINUX
def test_two_processes_share_the_pages_of_one_weights_file(tmp_path: Path) -> None:
    path = graph(tmp_path)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(path)],
            cwd=Path(__file__).parents[4],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            opened = float(process.stdout.readline())
            assert opened < HALF_MB / 2, "opening makes no copy"
            assert process.stdout.readline() == "ran\n"
        for process in processes:
            pages = mapped(process.pid, tmp_path / "weights")
            assert pages["Rss"] > HALF_MB, pages  # the matrix, and what was looked up
            assert pages["Pss"] == pytest.approx(pages["Rss"] / 2), "each page is counted half"
    finally:
        for process in processes:
            process.communicate()


def mapped(pid: int, file: Path) -> dict[str, float]:
    """MB of the pages of `file` in a process's memory, and its share of them (Pss)."""
    totals = {"Rss": 0.0, "Pss": 0.0}
    inside = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            inside = line.endswith(f" {file}")
        elif inside and (kind := line.split(":")[0]) in totals:
            totals[kind] += int(line.split()[1]) * 1024 / 1e6
    return totals
