"""What is kept for a day with a GPU runs without one: on the processor, and on the double."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from tests.doubles.cuda_double import CUDA_OPTIONS, Gpu, double

from overpaint.bench.pictures import IDENTICAL_DB
from overpaint.bundle.installed import install_command
from overpaint.engines.host.nvidia import NoGpuError
from overpaint.engines.onnxruntime.cuda import start as starting
from overpaint.engines.onnxruntime.cuda.options import OPTIONS
from overpaint.runtime.default_bundle import bundle_or_default

SCRIPTS = Path(__file__).parents[2] / "bench" / "studies"
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


ROW = {"option": "as it is", "step": 8.0, "copies": 0.05, "host": 0.03, "around": 0.01}


@pytest.fixture
def commands(script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What bench/studies/gpu.py types on a machine with a GPU; each answers next to nothing."""
    gpu, typed = script("gpu"), []

    def run(command: list[str]) -> str:
        typed.append(command)
        if "--output" in command:
            report = {"on_processor": {}, "rows": [ROW]}
            Path(command[command.index("--output") + 1]).write_text(json.dumps(report))
        return '{"runs": []}'

    @contextlib.contextmanager
    def model(case: object, work: object) -> Iterator[tuple[list[str], list[str]]]:
        yield [str(tmp_path / "bundle")], ["--checkpoint", "here"]

    monkeypatch.setattr(gpu, "run", run)
    monkeypatch.setattr(gpu, "model", model)
    monkeypatch.setattr(gpu, "check", lambda device: None)
    return typed


def test_every_point_is_measured_against_eager_and_compiled_torch_and_with_its_options(
    commands: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu = sys.modules["gpu"]
    gpu.main(["--output", str(tmp_path / "gpu.json")])
    benches = [words for words in commands if "bench" in words]
    options = [words for words in commands if words[1].endswith("cuda_options.py")]
    nodes = [words for words in commands if words[1].endswith("node_times.py")]
    assert len(benches) == len(options) == len(nodes) / 2 == len(gpu.CASES) == 5
    for case, bench, tried in zip(gpu.CASES, benches, options, strict=True):
        assert bench[-4:] == ["--against", "diffusers,compile", "--checkpoint", "here"]
        for words in (bench, tried):
            assert words[words.index("--size") + 1] == case.size
            assert float(words[words.index("--guidance-scale") + 1]) == case.guidance
        assert (tried[-2:] == ["--only", "none"]) == (case.name not in ("sd1.5", "sdxl"))
    outcomes = json.loads((tmp_path / "gpu.json").read_text())
    assert all(one["options"]["rows"] == [ROW] for one in outcomes)
    assert capsys.readouterr().out.count("1.0% of both are not the GPU's") == 5


def test_plans_are_built_before_tensorrt_is_measured(
    commands: list[list[str]], tmp_path: Path
) -> None:
    asked = ["--device", "tensorrt", "--cases", "sdxl", "--output", str(tmp_path / "gpu.json")]
    sys.modules["gpu"].main(asked)
    build, bench = commands
    assert build[1:] == [
        *("build", str(tmp_path / "bundle"), "--engine", "tensorrt"),
        *("--shape", "1x1024x1024", "--json"),
    ]
    assert bench[bench.index("--device") + 1] == "tensorrt"


def test_where_there_is_no_gpu_nothing_is_written(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> str:
        raise NoGpuError("no NVIDIA driver is installed here")

    monkeypatch.setitem(sys.modules, "onnxruntime", double(Gpu()))
    monkeypatch.setattr(starting, "gpu_name", none)
    with pytest.raises(SystemExit, match=r"gpu\.py: --device cuda cannot run .*no NVIDIA driver"):
        script("gpu").main(["--output", str(tmp_path / "gpu.json")])
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    line = re.escape(install_command("tensorrt"))
    with pytest.raises(SystemExit, match=rf"gpu\.py: .*{line}"):
        script("gpu").main(["--output", str(tmp_path / "gpu.json"), "--device", "tensorrt"])
    assert not list(tmp_path.iterdir())


def _embedded(gpu: ModuleType, case: object) -> object:
    from dataclasses import replace

    return replace(case, architecture=None)  # type: ignore[type-var]


def test_time_is_told_by_operator(script: Script, tmp_path: Path) -> None:
    import onnx

    bundle, output = bundle_or_default(None), tmp_path / "nodes.json"
    asked = [str(bundle), "--size", "64x64", "--device", "cpu", "--repeats", "2"]
    script("node_times").main([*asked, "--output", str(output)])
    found = json.loads(output.read_text())
    assert (found["component"], found["device"]) == ("unet", "cpu")
    rows = found["operators"]
    assert [row["ms"] for row in rows] == sorted((row["ms"] for row in rows), reverse=True)
    assert rows[0]["ms"] > 0
    graph = onnx.load(bundle / "unet/model.onnx", load_external_data=False).graph
    wanted = sum(node.op_type == "Attention" for node in graph.node)
    [attention] = [row for row in rows if row["operator"] == "Attention"]
    assert (attention["calls"], attention["provider"]) == (wanted, "CPU")


def test_every_option_is_measured_against_every_alternative(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = script("cuda_options")
    assert set(options.ALTERNATIVES) - set(OPTIONS) <= CUDA_OPTIONS
    assert set(OPTIONS) - set(options.ALTERNATIVES) == {"device_id"}
    monkeypatch.setitem(sys.modules, "onnxruntime", double(Gpu()))
    for module in (starting, sys.modules["overpaint.engines.host.nvidia"]):
        monkeypatch.setattr(module, "gpu_name", lambda: "Double")
    monkeypatch.setattr(options, "memory", lambda: None)
    few = {"enable_cuda_graph": ("0",), "use_tf32": ("1",)}
    monkeypatch.setattr(options, "ALTERNATIVES", few)
    output = tmp_path / "options.json"
    words = [str(bundle_or_default(None)), "--size", "64x64", "--steps", "1", "--repeats", "1"]
    options.main([*words, "--output", str(output)])
    report = json.loads(output.read_text())
    assert set(report["on_processor"]) == {"text_encoder", "vae_encoder", "unet", "vae_decoder"}
    rows = report["rows"]
    assert [row["option"] for row in rows] == ["as it is", *few]
    for row in rows:
        assert row["step"] > row["copies"] > 0
        assert 0 < row["host"] / (row["host"] + row["step"]) < row["around"] < 1
    options.main([*words, "--output", str(output), "--only", "none"])
    assert [row["option"] for row in json.loads(output.read_text())["rows"]] == ["as it is"]
    with pytest.raises(SystemExit):
        options.main([*words, "--output", str(output), "--only", "use_tf33"])
    assert all(row["psnr"] == IDENTICAL_DB and row["step"] > 0 for row in rows)
