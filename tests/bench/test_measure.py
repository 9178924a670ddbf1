"""Contenders take turns, and whoever did something else is not compared."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from overpaint.bench.contenders import OURS, Contender
from overpaint.bench.measure import Plan, measure
from overpaint.bench.records import Run
from overpaint.bench.summary import ratio, stages_of
from overpaint.bench.task import Task, differences
from overpaint.bundle.errors import OverpaintError
from overpaint.bundle.format.open import open_bundle
from overpaint.runtime.default_bundle import EMBEDDED

TASK = Task(
    prompt="a lighthouse",
    size=(64, 64),
    images=1,
    steps=6,
    strength=0.5,
    guidance_scale=4.0,
    sampler="default",
    seed=0,
    device="cpu",
    precision="f32",
)
FAKE = Path(__file__).parents[1] / "doubles" / "fake_contender.py"


def fake(name: str, log: Path, picture: str = "same", **changes: object) -> Contender:
    told = (name, os.fspath(log), picture, json.dumps(changes))
    return Contender(name, (sys.executable, os.fspath(FAKE), *told), f"pip install {name}")


def measured(*contenders: Contender, cold: int = 1) -> dict[str, Run]:
    plan = Plan(
        bundle=open_bundle(EMBEDDED), checkpoint=None, image=None, warmup=1, repeats=3, cold=cold
    )
    runs = measure(contenders, TASK, plan, lambda done, total, doing: None)
    return {run.peer: run for run in runs}


def test_contenders_are_timed_in_turn(tmp_path: Path) -> None:
    log = tmp_path / "log"
    runs = measured(fake(OURS, log), fake("a", log), fake("b", log), cold=2)
    first = [OURS] * 2 + ["a"] * 2 + ["b"] * 2
    assert log.read_text().split() == first + [OURS, "a", "b"] * 4
    for run in runs.values():
        assert run.status == "ok"
        assert run.latency_ms is not None
        assert len(run.latency_ms.samples) == 3
        assert run.cold_start is not None
        assert len(run.cold_start.first_image_s) == 2
        assert run.peak_mb is not None
        assert run.peak_mb > 10
    assert runs["a"].psnr_db == 100
    assert runs[OURS].ratio is None
    assert runs["b"].ratio is not None


def test_a_contender_whose_picture_differs_is_not_comparable(tmp_path: Path) -> None:
    run = measured(fake(OURS, tmp_path / "log"), fake("a", tmp_path / "log", "other"))["a"]
    assert run.status == "not_comparable"
    assert "its picture differs" in (run.why or "")
    assert run.psnr_db is not None
    assert run.psnr_db < 40
    assert run.latency_ms is None
    assert run.ratio is None


def test_a_level_of_our_own_says_how_far_it_is_and_how_long_it_takes(tmp_path: Path) -> None:
    """A peer whose picture were as far off would not be compared."""
    log = tmp_path / "log"
    draft = replace(fake(f"{OURS} draft", log, "other", evaluations=2), fidelity="draft")
    run = measured(fake(OURS, log), draft)[f"{OURS} draft"]
    assert (run.status, run.fidelity, run.evaluations) == ("ok", "draft", 2)
    assert run.psnr_db is not None
    assert run.psnr_db < 40
    assert run.ratio is not None


def test_who_makes_another_picture_by_its_make_is_timed_and_in_no_ratio(tmp_path: Path) -> None:
    log, precision = tmp_path / "log", {"unet": "float16"}
    alone = replace(fake("a", log, "other", precision=precision), alike=False)
    other = replace(fake("b", log, "other", denoiser_calls=4), alike=False)
    runs = measured(fake(OURS, log), alone, other)
    assert (runs["a"].status, runs["a"].ratio) == ("ok", None)
    assert runs["a"].latency_ms is not None
    assert "in no ratio" in (runs["a"].why or "")
    assert runs["b"].status == "not_comparable"
    assert (runs["b"].why or "").startswith("denoiser_calls: ")


@pytest.mark.parametrize(
    "change", [{"denoiser_calls": 4}, {"guidance": False}, {"precision": {"unet": "float16"}}]
)
def test_a_contender_that_did_other_work_is_not_comparable(
    change: dict[str, object], tmp_path: Path
) -> None:
    run = measured(fake(OURS, tmp_path / "log"), fake("a", tmp_path / "log", **change))["a"]
    assert run.status == "not_comparable"
    assert (run.why or "").startswith(f"{next(iter(change))}: ")
    assert run.ratio is None


def test_what_is_not_installed_is_skipped_with_the_command_that_installs_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    nowhere = Contender("c", ("/nowhere/bin/python",), "make an environment")
    runs = measured(fake(OURS, log), fake("a", log, "missing"), fake("b", log, "dies"), nowhere)
    assert (runs["a"].status, runs["a"].why) == ("skipped", "torch is not installed")
    assert runs["a"].install == "pip install a"
    assert (runs["b"].status, runs["b"].why) == ("skipped", "b ended early: out of memory")
    assert runs["b"].install is None, "installing would not help"
    assert (runs["c"].status, runs["c"].install) == ("skipped", "make an environment")


def test_ours_that_fails_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OverpaintError, match="out of memory"):
        measured(fake(OURS, tmp_path / "log", "dies"))


def test_there_is_no_ratio_of_runs_that_did_other_work(tmp_path: Path) -> None:
    run = measured(fake(OURS, tmp_path / "log"))[OURS]
    assert run.work is not None
    other = msgspec.structs.replace(
        run, work=msgspec.structs.replace(run.work, guidance=False, denoiser_calls=9)
    )
    with pytest.raises(OverpaintError, match="denoiser_calls: 9 and 3; guidance: False and True"):
        ratio(other, [1.0], run, [2.0])
    assert differences(run.work, run.work) == []
    assert ratio(run, [3.0], run, [2.0]).value == 1.5


def test_stages_are_told_by_the_call_and_make_up_the_whole() -> None:
    runs = {"text": [[0.01], [0.03]], "step": [[0.02, 0.04], [0.02, 0.04]]}
    text, step, other = stages_of(runs, [100.0, 110.0])
    assert (text.calls, text.p50_ms) == (1, 20)
    assert (step.calls, step.p50_ms) == (2, 30)
    assert (other.name, other.p50_ms) == ("other", 25)
    assert text.share + step.share + other.share == pytest.approx(1, abs=1e-3)
