"""What could not be taken though it would be better is told wherever a picture's making is told."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tests.doubles.cuda_double import Gpu, double

from overpaint.bundle.errors import SessionError
from overpaint.cli import main
from overpaint.engines.onnxruntime.cuda import start as starting
from overpaint.runtime import Img2Img
from overpaint.runtime.default_bundle import bundle_or_default
from overpaint.runtime.metadata import read_parameters

PICTURE = Path(__file__).parents[2] / "examples/summer.png"
WHY = "onnxruntime's CUDAExecutionProvider does not start, and onnxruntime does not say why"


@pytest.fixture(autouse=True)
def a_gpu_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", double(Gpu(provider_starts=False)))
    monkeypatch.setattr(starting, "gpu_name", lambda: "Double")


def test_the_command_tells_why_and_the_picture_tells_what(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.png"
    words = ["run", PICTURE, "winter", "--size", "64x64", "--steps", 2, "-o", output, "--json"]
    monkeypatch.setattr(sys, "argv", ["overpaint", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert not ended.value.code
    [result] = json.loads(capsys.readouterr().out)["results"]
    assert result["passed_over"]["cuda"] == WHY
    assert list(result["passed_over"]) == ["tensorrt", "tensorrt-rtx", "cuda"]
    assert read_parameters(output)["passed_over"] == ["tensorrt", "tensorrt-rtx", "cuda"]


def test_a_device_that_was_named_passes_nothing_over(tmp_path: Path) -> None:
    with Img2Img.open(bundle_or_default(None), device="cpu") as pipe:
        result = pipe(PICTURE, "winter", size=(64, 64), steps=2, strength=0.5)
    assert result.passed_over == {}
    assert result.parameters.passed_over == ()


def test_a_gpu_that_was_named_is_not_replaced() -> None:
    with pytest.raises(SessionError, match=r"does not start.* does not fall back"):
        Img2Img.open(bundle_or_default(None), device="cuda")
