"""Whatever a person types and wherever it is typed: one line, and never a traceback."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from overpaint.bundle.errors import OverpaintError
from overpaint.cli import main, unexpected
from overpaint.runtime.default_bundle import EMBEDDED

OVERPAINT = str(Path(sys.executable).with_name("overpaint"))
LONG = "a word " * 60

Done = subprocess.CompletedProcess[str]


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    Image.new("RGB", (64, 64), "teal").save("a.png")
    return tmp_path


def overpaint(*arguments: str, stdout: int = subprocess.PIPE, **environment: str) -> Done:
    return subprocess.run(
        [OVERPAINT, *arguments],
        env={**os.environ, **environment},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        errors="surrogateescape",
        timeout=120,
    )


def one_line(done: Done) -> str:
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.returncode in (1, 2)
    return done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", LONG, "mountains", "-o", "out.png"),
        ("run", "a.png", "mountains", "-o", LONG + ".png"),
        ("run", "a.png", "mountains", "-o", "out.png", "--bundle", LONG),
        ("info", LONG),
        ("verify", LONG),
        ("import", LONG, "-o", "made"),
        ("export", LONG, "-o", "made"),
    ],
    ids=lambda arguments: f"{arguments[0]} {len(arguments)}",
)
@pytest.mark.usefixtures("work")
def test_a_name_that_no_file_can_have_is_one_line(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert in_this_process(arguments) == 1
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1
    assert "unexpected" not in told


def in_this_process(arguments: Sequence[str]) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["overpaint", *arguments])
        with pytest.raises(SystemExit) as left:
            main.main()
    assert isinstance(left.value.code, int)
    return left.value.code


DENIED = [
    ("run", "shut", "mountains", "-o", "out.png"),
    ("run", "closed/a.png", "mountains", "-o", "out.png"),
    ("run", "a.png", "mountains", "-o", "closed/out.png"),
    ("run", "a.png", "mountains", "-o", "out.png", "--bundle", "closed/bundle"),
    ("info", "closed/bundle"),
    ("verify", "closed/bundle"),
    ("import", "closed/bundle", "-o", "made"),
    ("import", "shut.safetensors", "-o", "made"),
    ("export", "closed/bundle", "-o", "made"),
]


@pytest.mark.parametrize("arguments", DENIED, ids=" ".join)
def test_what_may_not_be_read_is_one_line_that_names_it(
    work: Path, arguments: tuple[str, ...]
) -> None:
    for name in ("shut", "closed"):
        Path(name).mkdir()
    shutil.copytree(EMBEDDED, "closed/bundle")
    for name in ("shut/a.png", "closed/a.png", "shut.safetensors"):
        shutil.copy("a.png", name)
    for path in (work / "shut", work / "closed", work / "shut.safetensors"):
        path.chmod(0 if path.name != "closed" else 0o600)
    try:
        told = one_line(
            subprocess.run(
                [*as_somebody_else(), OVERPAINT, *arguments],
                capture_output=True,
                text=True,
                timeout=120,
            )
        )
    finally:
        for path in (work / "shut", work / "closed"):
            path.chmod(0o700)
    assert "ermission denied" in told
    assert "shut" in told or "closed" in told
    assert "unexpected" not in told


def as_somebody_else() -> list[str]:
    """root may read everything, unless that is taken from it."""
    if os.geteuid():
        return []
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]


@pytest.mark.usefixtures("work")
def test_a_hub_that_cannot_be_reached_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def unreachable(*_: object, **__: object) -> None:
        raise RuntimeError("[Errno -2] Name or service not known")  # httpx's, which is no OSError

    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", unreachable)
    for command in ("import", "export"):
        assert in_this_process((command, "somebody/model", "-o", "made")) == 1
        told = capsys.readouterr().err
        assert "no such folder, and the hub gave nothing under that name" in told
        assert "Name or service not known" in told


@pytest.mark.parametrize("name", ["models/typo.safetensors", "models/typo.ckpt", "./models"])
@pytest.mark.usefixtures("work")
def test_a_mistyped_file_is_not_asked_for_on_a_hub(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", ModuleType("asked"))
    assert in_this_process(("import", name, "-o", "made")) == 1
    assert "no such f" in capsys.readouterr().err


@pytest.mark.usefixtures("work")
def test_a_prompt_may_hold_what_rich_takes_for_markup() -> None:
    screen, side = pty.openpty()
    arguments = ("run", "--text-to-image", "a sea [/b]", "--size", "64x64", "-o", "out.png")
    process = subprocess.Popen([OVERPAINT, *arguments], stdout=side, stderr=side)
    os.close(side)
    seen = b""
    try:
        while some := os.read(screen, 4096):
            seen += some
    except OSError:
        pass
    os.close(screen)
    assert process.wait(timeout=60) == 0, seen
    assert b"a sea [/b]" in seen


@pytest.mark.usefixtures("work")
def test_names_that_the_terminal_cannot_write_are_written_otherwise() -> None:
    shutil.copy("a.png", "海.png")
    for encoding in ("latin-1", "utf-8:strict"):
        name = "海.png" if encoding == "latin-1" else "\udcff.png"
        arguments = ("run", "a.png", "a sea 海", "--steps", "1", "-o", name, "--force")
        done = overpaint(*arguments, PYTHONIOENCODING=encoding)
        assert done.returncode == 0, done.stderr
        assert ("\\u6d77" if encoding == "latin-1" else "\\udcff") in done.stdout
        told = overpaint(*arguments, "--json", PYTHONIOENCODING=encoding)
        assert json.loads(told.stdout)["results"][0]["outputs"] == [name]


@pytest.mark.parametrize("arguments", [("info",), ("info", "--json"), ("--help",)], ids=" ".join)
@pytest.mark.usefixtures("work")
def test_a_full_disk_behind_the_output_is_one_line(arguments: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        told = one_line(overpaint(*arguments, stdout=full.fileno()))
    assert told == ("overpaint: the output cannot be written: No space left on device\n")


@pytest.mark.usefixtures("work")
def test_ten_thousand_words_go_into_every_format() -> None:
    words = "word " * 10_000
    for suffix in (".jpg", ".webp", ".png"):
        done = overpaint("run", "a.png", words, "--steps", "1", "-o", f"out{suffix}")
        assert done.returncode == 0, done.stderr[-300:]
    with Image.open("out.jpg") as image:
        comment = image.getexif().get_ifd(0x8769)[0x9286].removeprefix(b"UNICODE\0")
    lines = comment.decode("utf-16-be").splitlines()
    assert lines[0].startswith("word word ")
    assert lines[0].endswith(" […]")
    assert "Sampler: " in lines[-1]


@pytest.mark.parametrize("milliseconds", [5, 20, 40, 60, 100, 150])
@pytest.mark.usefixtures("work", "hearing_signals")
def test_control_c_is_heard_from_the_first(milliseconds: int) -> None:
    program = (
        "import sys; sys.argv = ['overpaint', 'info']\n"
        "from overpaint.cli.main import main\n"
        "print('here', flush=True)\n"
        "main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    time.sleep(milliseconds / 1000)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert (process.returncode, told) in ((130, ""), (0, ""))


def test_only_what_is_light_is_imported_before_somebody_hears_control_c() -> None:
    program = (
        "import sys; import overpaint.cli.main\n"
        "sys.exit('typer' in sys.modules or 'overpaint.bundle' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


class TestTheNet:
    @pytest.fixture(autouse=True)
    def broken(self, work: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        def fail(*_: object, **__: object) -> None:
            raise LookupError("the\nmoon")

        monkeypatch.setattr("overpaint.cli.paint.paint", fail)
        return work

    ARGUMENTS = ("run", "a.png", "a secret", "-o", "out.png")

    def test_what_nobody_foresaw_is_one_line_with_an_id_and_a_log(
        self, broken: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert in_this_process(self.ARGUMENTS) == 1
        told = capsys.readouterr().err
        assert len(told.splitlines()) == 1
        assert told.startswith("overpaint: unexpected LookupError: the moon (error ")
        log = broken / "state" / "overpaint" / "errors.log"
        assert str(log) in told
        written = log.read_text()
        assert told.split("(error ")[1].split(";")[0] in written
        assert "Traceback" in written
        assert "a secret" not in written

    def test_debug_shows_the_traceback(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert in_this_process(("--debug", *self.ARGUMENTS)) == 1
        told = capsys.readouterr().err
        assert told.startswith("Traceback")
        assert told.splitlines()[-1].startswith("overpaint: unexpected LookupError")

    def test_a_log_that_cannot_be_written_does_not_hide_the_line(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", "/dev/null")
        assert in_this_process(self.ARGUMENTS) == 1
        assert "its traceback could not be kept" in capsys.readouterr().err


def test_debug_shows_where_what_was_foreseen_comes_from(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert in_this_process(("--debug", "info", str(work))) == 1
    told = capsys.readouterr().err
    assert told.startswith("Traceback")
    assert told.splitlines()[-1].startswith(f"overpaint: {work}: not a bundle")


def test_an_error_with_nothing_to_say_is_named() -> None:
    assert unexpected.described(OverpaintError()).startswith("unexpected OverpaintError:")
