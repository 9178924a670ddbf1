"""ONNX Runtime's real CUDA provider without a GPU: what it takes, what it carries and captures.

`pytest -m provider` runs this; OVERPAINT_PROVIDER names the environment that `make_environment.sh`
made, and without it, it is made. Under the provider lies `no_gpu.c`: its numbers mean nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.checkpoints import tiny_checkpoint
from tests.conftest import Adapters, Export, Tiny

from overpaint.bundle import layout
from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.ip_adapter.attach import attach
from overpaint.bundle.ip_adapter.bundle import open_adapter
from overpaint.engines.onnxruntime.cuda.engine import KEPT
from overpaint.runtime.control.opening import with_control

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ON_NO_GPU = "onnxruntime 1.31.1 CUDA on no GPU"  # and no word of what it does without
FAMILIES = ("sd1", "sd2", "sdxl", "sdxl-refiner", "sd3", "flux1", "z-image", "flux2-klein")
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
            "PYTHONPATH": ":".join(str(ROOT / room) for room in ("bundle", "engines", "runtime")),
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


def test_batches_and_sizes_in_turn_all_have_graphs(bundle: Path, environment: Path) -> None:
    orders = [
        {"size": size, "steps": 2, "n": n, "guidance_scale": scale}
        for size in ((64, 64), (80, 112))
        for n in (1, 2, 3)
        for scale in (1.0, 5.0)
    ]
    *pictures, _ = ask(environment, "paint", str(bundle), json.dumps(orders * 2))
    assert {device for one in pictures for device in one["devices"]} == {ON_NO_GPU}


@pytest.fixture(scope="module")
def half(tiny_sd1: Path, exported: Export) -> str:
    return str(exported("sd1.provider.float16", tiny_sd1, dtype="float16"))


def test_a_size_that_was_captured_is_only_replayed(half: str, environment: Path) -> None:
    steps = 6
    orders = [
        {"size": size, "steps": steps, "sampler": "euler"} for size in ((64, 64), (96, 64))
    ] * 3
    *pictures, closed = ask(environment, "paint", half, json.dumps(orders))
    assert {device for one in pictures for device in one["devices"]} == {ON_NO_GPU}
    # Run as they are first, captured when met again: text and latents within the first picture.
    assert [one["captures"] for one in pictures] == [2, 1, 2, 2, 0, 0]
    for one in pictures[4:]:
        assert (one["launches"], one["allocations"], one["live"]) == (0, 0, 0)
        # Encoder, steps, decoder; the prompt's text is remembered.
        assert one["replays"] == one["downloads"] == steps + 2
        # Latents and timestep of each step; picture, text context, latents for the decoder.
        assert one["uploads"] == 2 * steps + 3
    held = sum(one["live"] for one in pictures)
    assert closed["live"] < held / 5  # what the provider itself keeps


def test_between_live_frames_nothing_but_captured_graphs_runs(half: str, environment: Path) -> None:
    steps = 2
    asked = {"steps": steps, "strength": 0.5, "seed": 1}
    prompts = ["winter"] * 5 + ["summer"] * 4
    frames = ask(environment, "live", half, json.dumps(asked), json.dumps(prompts))
    print(frames)
    for one in (*frames[2:5], *frames[6:]):  # as they are first, then captured; a new text is read
        assert (one["launches"], one["captures"], one["allocations"], one["live"]) == (0, 0, 0, 0)
        assert one["replays"] == one["downloads"] == steps + 2  # encoder, steps, decoder
        # Latents and timestep of each step; picture, latents for the decoder.
        assert one["uploads"] == 2 * steps + 2


def test_ever_new_sizes_do_not_take_ever_more_memory(half: str, environment: Path) -> None:
    orders = [{"size": (side, 64), "steps": 2} for side in range(64, 64 + 8 * 12, 8)]
    assert len(orders) > KEPT
    *pictures, _ = ask(environment, "paint", half, json.dumps(orders * 4))
    rounds = [sum(one["live"] for one in pictures[: len(orders) * done]) for done in (2, 3, 4)]
    assert rounds[0] == rounds[1] == rounds[2]


def test_what_is_not_the_gpus_in_a_step_is_a_fraction_of_a_millisecond(
    half: str, environment: Path
) -> None:
    microseconds = ask(environment, "step", half)
    print(microseconds)
    assert 0 < microseconds["engine"] + microseconds["host"] < 1000


@pytest.mark.parametrize("kind", ["base", "plus"])
def test_references_are_seen_on_the_gpu_alone(
    kind: str, adapters: Adapters, environment: Path, tmp_path: Path
) -> None:
    tiny = adapters("sd1", kind)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path))
        seeing = attach(open_bundle(tiny.bundle), open_adapter(tiny.adapter))
    graphs = [seeing / layout.graph_path(name) for name in ("unet", *layout.REFERENCES)]
    for answer in ask(environment, "take", json.dumps([str(path) for path in graphs])):
        assert set(answer["left"]) <= OF_SHAPES
        assert answer["copies"] == 0


def test_a_controlled_denoiser_and_its_network_are_computed_on_the_gpu_alone(
    controlnet: Callable[..., Tiny], tiny_sd1_bundle: Path, environment: Path, tmp_path: Path
) -> None:
    network = controlnet("sd1", "canny").bundle
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path))
        opened = with_control(open_bundle(tiny_sd1_bundle), [network])
    names = ("unet", f"{layout.HINT}-canny", f"{layout.CONTROLNET}-canny")
    graphs = [opened.path(layout.graph_path(name)) for name in names]
    for answer in ask(environment, "take", json.dumps([str(path) for path in graphs])):
        assert set(answer["left"]) <= OF_SHAPES
        assert answer["copies"] == 0
