"""ONNX Runtime's real CUDA provider without a GPU: what it takes, what it carries and captures.

`pytest -m provider` runs this; OVERPAINT_PROVIDER names the environment that `make_environment.sh`
made, and without it, it is made. Under the provider lies `no_gpu.c`: its numbers mean nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.checkpoints import tiny_checkpoint
from tests.conftest import Export

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FAMILIES = ("sd1", "sd2", "sdxl", "sdxl-refiner", "sd3")
OF_SHAPES = {"Add", "Cast", "Concat", "Div", "Gather", "Mul", "Range", "Reshape", "Shape", "Slice",
             "Squeeze", "Sub", "Unsqueeze"}  # fmt: skip
"""What arithmetic on sizes is made of; the processor does it, and a captured graph has it done."""

pytestmark = pytest.mark.provider


@pytest.fixture(scope="session")
def environment() -> Path:
    if named := os.environ.get("OVERPAINT_PROVIDER"):
        return Path(named)
    made = subprocess.run(
        [HERE / "make_environment.sh"], check=True, capture_output=True, text=True
    )
    return Path(made.stdout.strip())


def ask(environment: Path, *arguments: str) -> Any:
    stubs = environment / "stubs"
    finished = subprocess.run(
        [environment / "bin/python", HERE / "in_provider.py", *arguments],
        env={
            "PYTHONPATH": f"{ROOT / 'engines'}",
            "LD_PRELOAD": f"{stubs / 'libno_gpu.so'}",
            "LD_LIBRARY_PATH": f"{stubs}",
        },
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    return json.loads(finished.stdout)


@pytest.fixture(
    scope="module", params=[f"{f} {d}" for f in FAMILIES for d in ("float16", "float32")]
)
def bundle(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, exported: Export
) -> Path:
    family, dtype = request.param.split()
    checkpoint = tiny_checkpoint(family, tmp_path_factory.mktemp(family), turbo=family == "sd3")
    return exported(f"{family}.provider.{dtype}", checkpoint, dtype=dtype)


def test_the_gpu_computes_everything_and_nothing_is_carried(
    bundle: Path, environment: Path
) -> None:
    graphs = sorted(bundle.glob("*/model.onnx"))
    assert len(graphs) >= 4
    answers = ask(environment, "take", json.dumps([str(path) for path in graphs]))
    for path, answer in zip(graphs, answers, strict=True):
        name = path.parent.name
        assert set(answer["left"]) <= OF_SHAPES, name
        assert answer["copies"] == 0, name
        assert sum(answer["taken"].values()) > 4 * sum(answer["left"].values()), name
        if name in ("unet", "transformer"):
            assert answer["taken"].keys() & {"Attention", "MultiHeadAttention"}
            assert answer["taken"].keys() & {"InstanceNormalization", "LayerNormalization"}


def test_each_shape_is_captured_once_and_replayed_without_an_allocation(
    tiny_sd1: Path, exported: Export, environment: Path
) -> None:
    bundle = exported("sd1.provider.float16", tiny_sd1, dtype="float16")
    opened, *calls, closed = ask(environment, "run", str(bundle))
    assert opened["device"].endswith("CUDA on no GPU")  # and no word of what it does without
    assert {call["device"] for call in calls} == {opened["device"]}
    # A shape is run as it is, then captured, then replayed; the first shape's graph is kept.
    assert [call["batch"] for call in calls] == [1, 1, 1, 1, 2, 2, 2, 1]
    assert [call["captures"] for call in calls] == [0, 1, 1, 1, 1, 2, 2, 2]
    assert [call["replays"] for call in calls] == [0, 1, 2, 3, 3, 4, 5, 6]
    replayed = [calls[at] for at in (2, 3, 6, 7)]
    before = [calls[at - 1] for at in (2, 3, 6, 7)]
    for now, then in zip(replayed, before, strict=True):
        assert now["launches"] == then["launches"]
        assert now["allocations"] == then["allocations"]
    assert closed["live"] < opened["live"]
