"""The installed command itself, in a process of its own, on a real bundle and a real photograph."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from overpaint.cli.app import app
from overpaint.engines.backends import BACKENDS

OVERPAINT = Path(sys.executable).with_name("overpaint")
COMMANDS = ("run", "export", "import", "info", "verify", "serve")

Process = subprocess.CompletedProcess[str]


def overpaint(*arguments: object, cwd: Path | None = None) -> Process:
    command = [str(OVERPAINT), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    """A real photograph, taken with the camera on its side: EXIF says how to turn it."""
    shipped = files("matplotlib") / "mpl-data" / "sample_data" / "grace_hopper.jpg"
    with Image.open(str(shipped)) as image:
        assert image.size == (512, 600)
        small = image.resize((102, 120))
        exif = Image.Exif()
        exif[0x0112] = 6  # turn a quarter clockwise to see it upright
        lying = small.transpose(Image.Transpose.ROTATE_90)
        lying.save(tmp_path / "photograph.jpg", exif=exif, quality=95)
        small.save(tmp_path / "upright.png")
    return tmp_path / "photograph.jpg"


def test_a_photograph_is_repainted_upright(photograph: Path, tiny_sd1_bundle: Path) -> None:
    folder = photograph.parent
    done = overpaint(
        *("run", photograph, "a watercolour", "--bundle", tiny_sd1_bundle, "-o", "out.png"),
        *("--steps", 4, "--strength", 0.5, "--seed", 7),
        cwd=folder,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "seed 7, 2 of 4 steps" in done.stdout
    assert Image.open(folder / "out.png").size == (96, 120)


def test_strength_zero_shows_the_photograph_as_the_reference_vae_gives_it_back(
    photograph: Path, tiny_sd1_bundle: Path, tiny_sd1: Path
) -> None:
    """EXIF, JPEG, resizing, encoding, decoding and PNG, against diffusers on the same file."""
    import torch
    from diffusers import AutoencoderKL
    from diffusers.image_processor import VaeImageProcessor
    from diffusers.utils import load_image

    folder = photograph.parent
    done = overpaint(
        *("run", photograph, "x", "--bundle", tiny_sd1_bundle, "-o", folder / "out.png"),
        *("--strength", 0, "--seed", 3),
    )
    assert done.returncode == 0, done.stderr
    vae, processor = AutoencoderKL.from_pretrained(tiny_sd1 / "vae"), VaeImageProcessor()
    with torch.inference_mode():
        posterior = vae.encode(processor.preprocess(load_image(str(photograph)))).latent_dist
        z = posterior.sample(torch.Generator().manual_seed(3))
        expected = np.asarray(processor.postprocess(vae.decode(z).sample)[0], int)
    painted = np.asarray(Image.open(folder / "out.png"), int)
    assert np.abs(painted - expected).max() <= 1


def test_the_same_command_gives_the_same_bytes(photograph: Path, tiny_sd1_bundle: Path) -> None:
    for name in ("one.png", "two.png"):
        arguments = ("run", photograph, "x", "--bundle", tiny_sd1_bundle, "--size", "64x64")
        assert overpaint(
            *arguments, *("--steps", 4, "--seed", 1, "-o", name), cwd=photograph.parent
        )
    one, two = (photograph.with_name(name).read_bytes() for name in ("one.png", "two.png"))
    assert one == two


def test_the_version_is_the_distributions() -> None:
    assert overpaint("--version").stdout == f"overpaint {version('overpaint')}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_that_starts_with_the_command(command: str) -> None:
    shown = overpaint(command, "--help")
    assert shown.returncode == 0
    assert f"overpaint {command} " in shown.stdout.split("Example")[1]


@pytest.mark.parametrize("command", ["run", "serve", "bench"])
def test_help_names_every_device(command: str) -> None:
    told = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "250"}).output
    assert ", ".join(("auto", *BACKENDS)) in told


def test_help_and_refusals_import_neither_numpy_nor_an_engine() -> None:
    """What a person waits for at every typing slip."""
    program = (
        "import sys; sys.argv = ['overpaint', '--help']\n"
        "from overpaint.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'PIL', 'tokenizers', 'onnxruntime', 'torch'} & sys.modules.keys()\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr


def test_an_unknown_option_is_exit_code_2() -> None:
    assert overpaint("run", "a.png", "x", "-o", "out.png", "--strenght", "1").returncode == 2
    assert overpaint("paint").returncode == 2


def test_info_says_what_a_bundle_is_and_what_runs_it(tiny_sd1_bundle: Path) -> None:
    shown = overpaint("info", tiny_sd1_bundle).stdout
    for expected in (
        "(Stable Diffusion 1.x), epsilon",
        "text_encoder",
        "parity",
        "runs on",
        "tensorrt",
    ):
        assert expected in shown
    told = json.loads(overpaint("info", tiny_sd1_bundle, "--json").stdout)
    assert told["family"] == "sd1"
    assert {component["name"] for component in told["components"]} == {
        "text_encoder",
        "unet",
        "vae_encoder",
        "vae_decoder",
    }


def flip_a_byte(bundle: Path) -> None:
    path = bundle / "unet" / "model.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    path.write_bytes(data)


def lose_a_file(bundle: Path) -> None:
    (bundle / "tokenizer" / "tokenizer.json").unlink()


def add_a_field(bundle: Path) -> None:
    edit_manifest(bundle, {"colour": "blue"})


def come_from_the_future(bundle: Path) -> None:
    edit_manifest(bundle, {"version": 99})


def edit_manifest(bundle: Path, changes: dict[str, object]) -> None:
    path = bundle / "overpaint.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (flip_a_byte, "unet/model.onnx"),
        (lose_a_file, "tokenizer.json"),
        (add_a_field, "colour"),
        (come_from_the_future, "99"),
    ],
)
def test_a_bundle_that_is_not_what_it_was_is_one_line_and_nothing_is_written(
    harm: Callable[[Path], None],
    says: str,
    photograph: Path,
    tiny_sd1_bundle: Path,
    tmp_path: Path,
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_sd1_bundle, bundle)
    harm(bundle)
    before = sorted(tmp_path.iterdir())
    for command in (
        ("run", photograph, "x", "--bundle", bundle, "-o", tmp_path / "out.png"),
        ("info", bundle),
        ("verify", bundle),
    ):
        done = overpaint(*command)
        assert done.returncode == 1
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert says in done.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_verify_says_that_a_bundle_is_whole(tiny_sd1_bundle: Path) -> None:
    done = overpaint("verify", tiny_sd1_bundle)
    assert (done.returncode, done.stderr) == (0, "")
    assert "whole" in done.stdout


def test_a_folder_that_is_no_bundle_is_one_line(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        done = overpaint("info", folder)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1


def on_a_terminal(*arguments: object) -> str:
    """What a person sees: stdout and stderr are a terminal."""
    screen, side = pty.openpty()
    process = subprocess.Popen([OVERPAINT, *map(str, arguments)], stdout=side, stderr=side)
    os.close(side)
    seen = b""
    while True:
        try:
            seen += os.read(screen, 4096)
        except OSError:
            break
    process.wait(timeout=60)
    os.close(screen)
    return seen.decode()


def test_a_terminal_shows_a_progress_bar_and_a_pipe_none(
    photograph: Path, tiny_sd1_bundle: Path
) -> None:
    arguments = ("run", photograph, "x", "--bundle", tiny_sd1_bundle, "--size", "64x64", "--force")
    options = ("--steps", 6, "--sampler", "ddim", "--strength", 1)
    options += ("-o", photograph.parent / "out.png")
    assert "6/6" in on_a_terminal(*arguments, *options)
    piped = overpaint(*arguments, *options)
    assert piped.stderr == ""
    assert len(piped.stdout.splitlines()) == 1


@pytest.mark.usefixtures("hearing_signals")
def test_control_c_ends_at_once_with_130_and_leaves_nothing(
    photograph: Path, tiny_sd1_bundle: Path
) -> None:
    out = photograph.parent / "out.png"
    arguments = ("run", photograph, "x", "--bundle", tiny_sd1_bundle, "--steps", 900)
    process = subprocess.Popen(
        [OVERPAINT, *map(str, arguments), "--strength", "1", "-o", out],
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert sorted(path.name for path in out.parent.iterdir()) == ["photograph.jpg", "upright.png"]
