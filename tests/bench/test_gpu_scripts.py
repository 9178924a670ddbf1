"""What is kept for a day with a GPU runs without one: on the processor, and on the double."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from tests.engines.cuda_double import CUDA_OPTIONS, Gpu, double

from overpaint.bench.pictures import IDENTICAL_DB
from overpaint.engines.ort_cuda import choose as chooser
from overpaint.engines.ort_cuda.driver import NoGpuError
from overpaint.engines.ort_cuda.options import OPTIONS
from overpaint.runtime.default_bundle import bundle_or_default

SCRIPTS = Path(__file__).parents[2] / "bench"
Script = Callable[[str], ModuleType]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    def load(name: str) -> ModuleType:
        monkeypatch.syspath_prepend(SCRIPTS)
        spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load


def test_the_gpu_script_measures_and_keeps_what_it_has(
    script: Script, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "gpu.json"
    dry = ["--dry-run", "--against", "none", "--repeats", "1", "--output", str(output)]
    script("gpu").main(dry)
    [case] = json.loads(output.read_text())
    [ours] = case["report"]["runs"]
    assert ours["work"]["size"] == [64, 64]
    assert ours["latency_ms"]["p50"] > 0
    assert "overpaint" in capsys.readouterr().out


def test_a_case_that_fails_says_why_and_the_next_one_runs(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = script("gpu")
    answers = iter(['{"runs": []}'])

    def run(command: list[str]) -> str:
        if "--steps" in command and command[command.index("--steps") + 1] == "1":
            raise RuntimeError("no GPU is here")
        return next(answers)

    cases = tuple(case for case in gpu.CASES if case.name.startswith("sd-turbo"))
    monkeypatch.setattr(gpu, "run", run)
    monkeypatch.setattr(gpu, "DRY", tuple(_embedded(gpu, case) for case in cases))
    gpu.main(["--dry-run", "--output", str(tmp_path / "gpu.json")])
    first, second = json.loads((tmp_path / "gpu.json").read_text())
    assert first["failed"] == "RuntimeError: no GPU is here"
    assert second["report"] == {"runs": []}


def test_where_there_is_no_gpu_nothing_is_written(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> str:
        raise NoGpuError("no NVIDIA driver is installed here")

    monkeypatch.setitem(sys.modules, "onnxruntime", double(Gpu()))
    monkeypatch.setattr(chooser, "gpu_name", none)
    with pytest.raises(SystemExit, match=r"gpu\.py: --device cuda cannot run .*no NVIDIA driver"):
        script("gpu").main(["--output", str(tmp_path / "gpu.json")])
    assert not list(tmp_path.iterdir())


def _embedded(gpu: ModuleType, case: object) -> object:
    from dataclasses import replace

    return replace(case, architecture=None)  # type: ignore[type-var]


def test_every_option_is_measured_against_every_alternative(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = script("cuda_options")
    assert set(options.ALTERNATIVES) - set(OPTIONS) <= CUDA_OPTIONS
    assert set(OPTIONS) - set(options.ALTERNATIVES) == {"device_id"}
    monkeypatch.setitem(sys.modules, "onnxruntime", double(Gpu()))
    for module in (chooser, sys.modules["overpaint.engines.ort_cuda.driver"]):
        monkeypatch.setattr(module, "gpu_name", lambda: "Double")
    monkeypatch.setattr(options, "memory", lambda: None)
    few = {"enable_cuda_graph": ("0",), "use_tf32": ("1",)}
    monkeypatch.setattr(options, "ALTERNATIVES", few)
    output = tmp_path / "options.json"
    words = [str(bundle_or_default(None)), "--size", "64x64", "--steps", "1", "--repeats", "1"]
    options.main([*words, "--output", str(output)])
    rows = json.loads(output.read_text())
    assert [row["option"] for row in rows] == ["as it is", *few]
    assert all(row["psnr"] == IDENTICAL_DB and row["step"] > 0 for row in rows)
