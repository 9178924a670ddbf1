"""`overpaint build`, from the command line to the files in the bundle."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.bundle.micro import make_micro
from tests.doubles.tensorrt_here import VERSION, Here
from tests.doubles.tensorrt_here import here as here

from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.installed import install_command
from overpaint.cli import main
from overpaint.engines.onnxruntime.cpu.plans import fitting_plan

Overpaint = Callable[..., tuple[int, str, str]]


@pytest.fixture
def overpaint(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run the command line here: (exit code, stdout, stderr)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["overpaint", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main.main()
        out, err = capfd.readouterr()
        code = ended.value.code
        return (code if isinstance(code, int) else 0), out, err

    return run


@pytest.fixture
def micro(tmp_path: Path) -> Path:
    return make_micro(tmp_path / "micro")


def test_it_says_what_it_will_take_and_what_it_made(
    here: Here, micro: Path, overpaint: Overpaint
) -> None:
    code, out, err = overpaint("build", micro, "--engine", "tensorrt", "--shape", "1x64x64")
    assert (code, err) == (0, "")
    first, guess, *plans, last = out.splitlines()
    assert first == (
        "building trt11.4-sm90-linux-x86_64 for 1x64x64 with TensorRT 11.4 on NVIDIA Double"
    )
    assert guess.startswith("guessed from the graphs' sizes, not measured: 1 to 2 minutes, 2.0 GB")
    assert [line.partition(":")[0] for line in plans] == [
        "text_encoder",
        "unet",
        "vae_encoder",
        "vae_decoder",
    ]
    assert "2 exact shapes" in plans[1]
    assert last == (f"{micro}/plans/trt11.4-sm90-linux-x86_64: built. Try: overpaint info {micro}")


def test_info_lists_the_plans_and_takes_them(here: Here, micro: Path, overpaint: Overpaint) -> None:
    assert (
        "the bundle has no TensorRT plan; make one: overpaint build" in overpaint("info", micro)[1]
    )
    overpaint("build", micro, "--engine", "tensorrt", "--shape", "1x64x64")
    out = overpaint("info", micro)[1]
    said = [" ".join(line.split()) for line in out.splitlines()]  # columns have changed before
    assert "runs on tensorrt" in said
    assert f"yes tensorrt tensorrt_lean {VERSION} on NVIDIA Double, plans for 1x64x64" in said


def test_json_is_the_record_and_nothing_else(here: Here, micro: Path, overpaint: Overpaint) -> None:
    code, out, err = overpaint(
        "build", micro, "--engine", "tensorrt", "--shape", "1x64x64", "--json"
    )
    assert (code, err) == (0, "")
    written = (micro / "plans/trt11.4-sm90-linux-x86_64/build.json").read_bytes()
    assert json.loads(out) == json.loads(written)


def test_what_is_there_is_kept_unless_force_is_said(
    here: Here, micro: Path, overpaint: Overpaint
) -> None:
    arguments = ("build", micro, "--engine", "tensorrt", "--shape", "1x64x64")
    overpaint(*arguments)
    code, _, err = overpaint(*arguments)
    assert code == 1
    assert "exists already; say --force to build it again" in err
    assert overpaint(*arguments, "--force")[0] == 0


def test_without_tensorrt_one_line_says_how_to_get_it(
    here: Here, micro: Path, overpaint: Overpaint
) -> None:
    here.install()
    code, out, err = overpaint("build", micro, "--engine", "tensorrt", "--shape", "1x64x64")
    assert (code, out) == (1, "")
    assert err == (
        f"overpaint: tensorrt is not installed. Install it with: {install_command('tensorrt')}\n"
    )


@pytest.mark.alone
@pytest.mark.usefixtures("hearing_signals")
def test_ctrl_c_ends_in_one_line(here: Here, micro: Path, overpaint: Overpaint) -> None:
    import os
    import signal
    import time

    def on_step() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        while signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            time.sleep(0.01)

    here.trt.on_step = on_step  # type: ignore[method-assign]
    code, _, err = overpaint("build", micro, "--engine", "tensorrt", "--shape", "1x64x64")
    assert (code, err) == (130, "overpaint: stopped; nothing was written\n")
    assert not (micro / "plans").exists()


def test_onnx_runtimes_plans_are_built_and_then_opened(micro: Path, overpaint: Overpaint) -> None:
    code, out, err = overpaint("build", micro, "--engine", "onnxruntime")
    assert (code, err) == (0, "")
    assert out.startswith(f"{micro}/plans/ort")
    bundle = open_bundle(micro)
    assert all(fitting_plan(bundle, name) for name in bundle.manifest.components)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ("--engine", "torch"),
            "expected tensorrt-rtx, tensorrt, onnxruntime, openvino; got 'torch'",
        ),
        (
            ("--engine", "onnxruntime", "--shape", "1x64x64"),
            "--shape: this is for --engine tensorrt or tensorrt-rtx; an ONNX Runtime plan takes",
        ),
        (
            ("--engine", "tensorrt", "--sizes", "64:64:128"),
            "--sizes: this is for --engine tensorrt-rtx; a TensorRT plan is for exact sizes",
        ),
        (
            ("--engine", "tensorrt-rtx", "--exact-version"),
            "--exact-version: this is for --engine tensorrt; a plan of TensorRT for RTX is always",
        ),
        (
            ("--engine", "tensorrt", "--weightless"),
            "--weightless: this is for --engine tensorrt-rtx; a TensorRT plan is for exact sizes",
        ),
        (
            ("--engine", "tensorrt-rtx", "--weightless", "--weight-streaming"),
            "--weightless, --weight-streaming: expected one of them",
        ),
        (
            ("--engine", "tensorrt-rtx", "--sizes", "64:128", "--force"),
            "--sizes: expected MIN:OPT:MAX, each a side or BATCHxHEIGHTxWIDTH",
        ),
        (
            ("--engine", "tensorrt-rtx", "--sizes", "64:256:128"),
            "--sizes 1x64x64:1x256x256:1x128x128: expected each axis to grow from left to right",
        ),
        (
            ("--engine", "tensorrt-rtx", "--sizes", "64:64:64", "--shape", "1x64x64"),
            "--shape, --sizes: expected one of them",
        ),
        (
            ("--engine", "tensorrt-rtx", "--sizes", "64:64:64", "--compute-capability", "9.0"),
            "--compute-capability 9.0: TensorRT for RTX builds for 7.5 (Turing: RTX 20), 8.0",
        ),
        (("--engine", "tensorrt", "--shape", "64"), "expected BATCHxHEIGHTxWIDTH, for example"),
    ],
)
def test_what_was_asked_wrongly_is_said_in_one_line(
    here: Here, micro: Path, overpaint: Overpaint, arguments: tuple[str, ...], says: str
) -> None:
    code, out, err = overpaint("build", micro, *arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert len(err.splitlines()) == 1
