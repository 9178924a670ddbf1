"""`overpaint bench --live`: frames through ours and through a peer that does the same work."""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec
import pytest
from rich.console import Console

from overpaint.bench.live import CALLS, LIVE, LIVE_ALONE, LiveReport
from overpaint.bench.tables import show

FRAMES = 12
ASKED = ("--live", "--size", "64x64", "--steps", "2", "--strength", "0.5", "--sampler", "lcm")


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = "from overpaint.cli.main import main; main()"
    command = [sys.executable, "-c", program, "bench", *ASKED, "--repeats", str(FRAMES), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def report() -> LiveReport:
    """diffusers and StreamDiffusion beside us, and an optimum that is not there."""
    nowhere = ("--optimum-python", os.path.join(os.sep, "nowhere", "bin", "python"))
    done = bench("--against", "diffusers,streamdiffusion,optimum", *nowhere, "--json")
    assert done.returncode == 0, done.stderr
    return msgspec.json.decode(done.stdout, type=LiveReport)


def test_live_runs_calls_and_peers_repaint_alike(report: LiveReport) -> None:
    runs = {run.peer: run for run in report.runs}
    peers = ("diffusers", "streamdiffusion")
    assert [runs[name].status for name in (CALLS, LIVE, LIVE_ALONE, *peers)] == ["ok"] * 5
    assert runs[LIVE].psnr_db == runs[LIVE_ALONE].psnr_db == 100
    assert all((runs[peer].psnr_db or 0) > 60 for peer in peers)


def test_frames_of_a_batch_that_streams_all_come_out(report: LiveReport) -> None:
    [peer] = [run for run in report.runs if run.peer == "streamdiffusion"]
    assert peer.dropped is not None
    assert peer.dropped < FRAMES
    assert (peer.latency_p50_ms or 0) > 1e3 / (peer.frames_per_second or 1)  # one frame behind


def test_a_peer_that_is_missing_is_skipped_with_what_installs_it(report: LiveReport) -> None:
    [optimum] = [run for run in report.runs if run.peer == "optimum"]
    assert optimum.status == "skipped"
    assert "optimum-onnx" in (optimum.install or "")


def test_frames_are_counted_and_late_ones_dropped(report: LiveReport) -> None:
    for run in report.runs[:3]:
        assert run.frames_per_second is not None
        assert run.frames_per_second > 0
        assert 0 < run.latency_p50_ms <= run.latency_p99_ms  # type: ignore[operator]
        assert run.dropped is not None
        assert 0 <= run.dropped < FRAMES
        # What is slower than the camera cannot have shown all of its frames.
        if run.frames_per_second < report.camera / 2:
            assert run.dropped > 0


def test_the_report_is_a_table(report: LiveReport) -> None:
    with open(os.devnull, "w") as nowhere:
        console = Console(width=140, record=True, file=nowhere)
        show(report, console)
    said = console.export_text()
    assert "frames a second" in said
    assert LIVE in said
    assert "pip install" in said


@pytest.mark.parametrize(
    ("asked", "said"), [(("--limits",), "leave --limits"), (("-n", "2"), "one picture of each")]
)
def test_what_does_not_go_with_it_is_said(asked: tuple[str, ...], said: str) -> None:
    done = bench(*asked)
    assert done.returncode == 2
    assert said in done.stderr
