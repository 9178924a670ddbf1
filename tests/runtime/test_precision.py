"""bfloat16: faster, and only where a bundle's own pictures survive it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from overpaint.bundle.errors import SessionError
from overpaint.bundle.format.open import open_bundle
from overpaint.cli.app import app
from overpaint.engines.choose import choose
from overpaint.engines.openvino import compiled
from overpaint.engines.openvino.bf16 import measured, remember
from overpaint.runtime import Img2Img, precision_gate
from overpaint.runtime.default_bundle import EMBEDDED
from overpaint.runtime.image.compare import psnr
from overpaint.runtime.precision_gate import landscape

HAS_BF16 = "BF16" in compiled.the_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
needs_bf16 = pytest.mark.skipif(not HAS_BF16, reason="this processor has no bfloat16")


@pytest.fixture(autouse=True)
def own_cache_and_small_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(precision_gate, "SIDE", 64)


def paint(device: str, precision: str = "f32") -> np.ndarray:
    with Img2Img.open(device=device, precision=precision) as pipe:
        return np.asarray(pipe(landscape(64), "winter", seed=3).images[0]).astype(int)


def test_openvino_paints_the_picture_that_onnxruntime_paints() -> None:
    assert np.abs(paint("openvino") - paint("cpu")).max() <= 1


@needs_bf16
def test_bf16_is_compared_with_f32_once_and_told() -> None:
    seen: list[tuple[int, int]] = []
    embedded = open_bundle(EMBEDDED)
    assert measured(embedded) is None
    for _ in range(2):
        with Img2Img.open(
            device="openvino", precision="bf16", comparing=lambda *at: seen.append(at)
        ) as pipe:
            result = pipe(landscape(64), "winter", seed=3)
        assert result.device.endswith("CPU bf16")
        assert result.parameters.device == result.device
        assert result.decision is not None
        assert result.decision.psnr_db == pytest.approx(measured(embedded), abs=0.01)
        assert result.decision.psnr_db > 40
    assert seen == [(i + 1, seen[-1][1]) for i in range(len(seen))]
    assert seen[-1][0] == seen[-1][1]


@needs_bf16
def test_weights_too_large_for_openvino_in_f32_are_compared_with_onnxruntimes_picture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[str, str]] = []
    open_session = precision_gate.open_session

    def noting(bundle: Any, name: str, decision: Any) -> Any:
        asked.append((decision.chosen.device, decision.precision))
        return open_session(bundle, name, decision)

    monkeypatch.setattr(precision_gate, "open_session", noting)
    embedded = open_bundle(EMBEDDED)
    decision = choose(embedded, "openvino", "bf16")
    usual = precision_gate.compare(embedded, decision)
    assert set(asked) == {("openvino", "f32"), ("openvino", "bf16")}
    asked.clear()
    monkeypatch.setattr(precision_gate, "memory_limit", lambda: 10**7)
    assert precision_gate.compare(embedded, decision) == pytest.approx(usual, abs=0.5)
    assert set(asked) == {("cpu", "f32"), ("openvino", "bf16")}


@needs_bf16
@pytest.mark.parametrize("name", ["tiny_schnell", "tiny_z_image"])
def test_streams_of_picture_and_text_are_painted_in_bf16(
    name: str, request: pytest.FixtureRequest
) -> None:
    bundle: Path = request.getfixturevalue(f"{name}_bundle")
    asked: dict[str, Any] = {"seed": 3, "steps": 2, "strength": 0.5}
    with Img2Img.open(bundle, device="cpu") as pipe:
        [wanted] = pipe(landscape(64), "winter", **asked).images
    with Img2Img.open(bundle, device="openvino", precision="bf16") as pipe:
        result = pipe(landscape(64), "winter", **asked)
    assert result.device.endswith("CPU bf16")
    assert result.decision is not None
    assert psnr(np.asarray(wanted), np.asarray(result.images[0])) > 30


@needs_bf16
def test_pictures_that_do_not_survive_bf16_are_refused() -> None:
    remember(open_bundle(EMBEDDED), 17.25)
    with pytest.raises(SessionError, match=r"17\.2 dB against float32, and 30 is the least; use"):
        Img2Img.open(device="openvino", precision="bf16")


@needs_bf16
def test_without_a_cache_it_is_compared_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    calls: list[int] = []
    monkeypatch.setattr(precision_gate, "compare", lambda *_: calls.append(1) or 44.0)
    for _ in range(2):
        with Img2Img.open(device="openvino", precision="bf16", low_memory=True) as pipe:
            assert pipe.decision is not None
            assert pipe.decision.psnr_db == 44.0
    assert len(calls) == 2


def test_info_says_what_bf16_is_worth_here() -> None:
    def said() -> str:
        outcome = CliRunner().invoke(app, ["info", "--json"])
        devices = {one["device"]: one for one in json.loads(outcome.stdout)["devices"]}
        return str(devices["openvino"]["why"])

    assert said().endswith("bf16: not measured yet")
    remember(open_bundle(EMBEDDED), 53.21)
    assert said().endswith("bf16: 53.2 dB against f32")


@needs_bf16
def test_run_says_what_bf16_cost(tmp_path: Path) -> None:
    remember(open_bundle(EMBEDDED), 53.21)
    landscape(64).save(tmp_path / "in.png")
    arguments = ["run", str(tmp_path / "in.png"), "winter", "-o", str(tmp_path / "out.png")]
    arguments += ["--device", "openvino", "--precision", "bf16", "--force"]
    told = CliRunner().invoke(app, arguments)
    assert told.exit_code == 0, told.output
    assert "CPU bf16 (53.2 dB against f32)" in told.stdout
    told = CliRunner().invoke(app, [*arguments, "--json"])
    assert json.loads(told.stdout)["results"][0]["psnr_db"] == 53.21


def test_bf16_elsewhere_is_one_clear_line() -> None:
    outcome = CliRunner().invoke(app, ["run", "x.png", "p", "-o", "y.png", "--precision", "bf16"])
    assert outcome.exit_code != 0


def test_psnr_is_ten_times_the_logarithm_of_peak_over_error() -> None:
    black = np.zeros((4, 4, 3), np.uint8)
    assert psnr(black, black) == math.inf
    assert psnr(black + np.uint8(255), black) == pytest.approx(0)
    assert psnr(black + np.uint8(1), black) == pytest.approx(48.13, abs=0.01)


def test_the_picture_that_is_compared_has_detail_at_every_scale() -> None:
    picture = np.asarray(landscape().convert("L"), np.float64)
    assert isinstance(landscape(), Image.Image)
    assert picture.max() - picture.min() > 100
    for step in (1, 4, 16, 64):
        assert np.abs(picture[:, step:] - picture[:, :-step]).mean() > 0.5
