"""`overpaint bench` from the command line: the embedded model by default, peers beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from tests.bench.reports import WORK, report, run
from tests.conftest import Tiny

from overpaint.bench.plot import plot
from overpaint.bench.records import Point, Report, Run
from overpaint.bench.tables import show
from overpaint.bundle.installed import install_command

QUICK = (
    "--size",
    "64x64",
    "--steps",
    "4",
    "--strength",
    "0.5",
    "--guidance-scale",
    "1.5",
    "--repeats",
    "2",
    "--warmup",
    "0",
    "--cold",
    "1",
)


def overpaint(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = "from overpaint.cli.main import main; main()"
    command = [sys.executable, "-c", program, "bench", *map(os.fspath, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def printed(one: Report, width: int = 140) -> str:
    console = Console(width=width, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    show(one, console)
    return console.export_text()


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """diffusers beside us, and an optimum that is not there."""
    nowhere = tmp_path_factory.mktemp("nowhere") / "bin" / "python"
    peers = ("--against", "diffusers,optimum", "--optimum-python", nowhere)
    done = overpaint(*QUICK, *peers, "--limits", "--steps", "4,6", "--json")
    assert done.returncode == 0, done.stderr
    return msgspec.json.decode(done.stdout, type=Report)


def test_the_command_that_installs_a_peer_keeps_its_brackets() -> None:
    line = "pip install 'overpaint[export]'"
    skipped = Run(peer="diffusers", status="skipped", why="no [torch]", install=line)
    shown = printed(report(run([10.0, 11.0]), skipped))
    assert f"install it with: {line}" in shown
    assert "no [torch]" in shown


def test_an_inpainting_checkpoint_is_measured_alone(inpainting: Callable[[str], Tiny]) -> None:
    done = overpaint(inpainting("sd1").bundle, "--against", "diffusers")
    assert done.returncode == 2
    assert "is an inpainting checkpoint, which no peer's image to image runs" in done.stderr


def test_a_report_says_what_was_run_and_on_what(measured: Report) -> None:
    work = measured.work
    assert work is not None
    assert (work.model, work.size, work.steps, work.denoiser_calls) == ("pocket", (64, 64), 4, 2)
    assert work.guidance
    assert set(work.precision) == {"text_encoder", "vae_encoder", "unet", "vae_decoder"}
    assert measured.machine.threads >= 1
    assert measured.machine.versions["overpaint"]


def test_stages_are_told_for_our_own_run(measured: Report) -> None:
    ours = measured.runs[0]
    names = [stage.name for stage in ours.stages]
    assert names == ["read", "text", "encode", "step, engine", "step, host", "decode", "other"]
    text = ours.stages[1]
    assert text.p50_ms > 0.05, "the prompt is encoded in every run, as peers do"
    assert sum(stage.share for stage in ours.stages) == pytest.approx(1, abs=1e-3)


def test_diffusers_paints_the_same_picture_and_is_compared(measured: Report) -> None:
    peer = measured.runs[1]
    assert (peer.peer, peer.status) == ("diffusers", "ok")
    assert peer.psnr_db is not None
    assert peer.psnr_db > 48
    assert peer.max_difference is not None
    assert peer.max_difference <= 1
    assert peer.work == measured.work
    stages = {stage.name: stage.calls for stage in peer.stages}
    assert stages == {"text": 1, "encode": 1, "step, engine": 2, "decode": 1, "other": 1}
    assert peer.ratio is not None


def test_a_peer_that_is_not_there_is_skipped_with_the_command_that_installs_it(
    measured: Report,
) -> None:
    peer = measured.runs[2]
    assert (peer.peer, peer.status) == ("optimum", "skipped")
    assert "optimum-onnx" in (peer.install or "")
    assert peer.ratio is None


def test_no_engine_is_faster_than_the_machine_by_more_than_noise(measured: Report) -> None:
    assert measured.limits is not None
    engines = {one.component: one for one in measured.limits.engines}
    assert set(engines) == {"vae_encoder", "unet", "vae_decoder"}
    assert all(one.gflop > 0 and one.floor_ms > 0 for one in engines.values())


def test_a_sweep_has_a_point_for_each_further_value(measured: Report) -> None:
    [point] = measured.sweep
    assert (point.axis, point.value) == ("steps", "6")
    assert point.run.work is not None
    assert point.run.work.denoiser_calls == 3


def test_a_table_holds_the_figures_of_the_report(measured: Report) -> None:
    text = printed(measured)
    assert measured.machine.processor in text
    assert "4 steps asked for, strength 0.5: 2 calls of the denoiser" in text
    assert "install it with: python3 -m venv" in text
    latency = measured.runs[0].latency_ms
    assert latency is not None
    assert f"{latency.p50:.4g}" in text


def test_a_table_of_runs_that_differ_holds_no_ratio() -> None:
    ours = run([1.0, 2.0])
    other = Run(peer="a", status="not_comparable", work=WORK, why="guidance: True and False")
    text = printed(report(ours, other))
    assert "not comparable" in text
    assert "guidance: True and False" in text
    assert "times overpaint" not in text


def test_a_plot_is_a_picture_with_something_on_it(tmp_path: Path) -> None:
    ours, peer = run([10.0, 11.0, 12.0]), run([20.0, 21.0, 25.0], peer="diffusers")
    twice = run([20.0], work=msgspec.structs.replace(WORK, denoiser_calls=10))
    sweep = (Point(axis="steps", value="20", run=twice),)
    plot(report(ours, peer, sweep=sweep), tmp_path / "new" / "plot.png")
    with Image.open(tmp_path / "new" / "plot.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape[1] > 1000
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


def test_a_missing_matplotlib_is_named_before_anything_is_measured(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['matplotlib'] = None; sys.modules['matplotlib.figure'] = None\n"
        "from overpaint.cli.main import main; main()"
    )
    command = [sys.executable, "-c", program, "bench", "--plot", tmp_path / "p.png"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip().endswith(install_command("bench"))
    assert done.stdout == ""


def test_a_report_to_compare_with_decides_the_exit_code(measured: Report, tmp_path: Path) -> None:
    """Exit code 3 for slower: here, than a run that is said to have taken no time at all."""
    old = tmp_path / "old.json"
    latency = measured.runs[0].latency_ms
    assert latency is not None
    quick = msgspec.structs.replace(latency, p50=latency.p50 / 1e3, samples=(0.01, 0.01))
    ours = msgspec.structs.replace(measured.runs[0], latency_ms=quick)
    old.write_bytes(msgspec.json.encode(msgspec.structs.replace(measured, runs=(ours,))))
    done = overpaint(*QUICK, "--compare", old)
    assert done.returncode == 3, done.stderr
    assert "overpaint: slower" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--against", "comfyui"), "--against: expected names out of diffusers, compile, optimum"),
        (("--against", "streamdiffusion"), "it repaints frames alone; add --live"),
        (("--steps", "many"), "--steps: expected values as 10,20, got 'many'"),
        (("--strength", "1.5"), "strength: expected a number from 0 to 1, got 1.5"),
        (("--repeats", "0"), "--repeats: expected 1 or more, got 0"),
        (("--device", "abacus"), "--device: expected one of"),
        (("--precision", "bf16", "--device", "cpu"), "--precision bf16 needs --device openvino"),
        (("--compare", "nowhere.json"), "nowhere.json: cannot be read"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(arguments: tuple[str, ...], said: str) -> None:
    done = overpaint(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
