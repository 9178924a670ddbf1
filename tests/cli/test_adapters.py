"""An IP-Adapter on the command line: made, looked at, seen through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Adapters, BuildOnce
from tests.parity import photograph
from typer.testing import CliRunner, Result

from overpaint.cli.app import app
from overpaint.runtime.metadata import read_parameters


@pytest.fixture(autouse=True)
def desk(build_once: BuildOnce, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder with a photo and a reference picture."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(build_once("adapter-cache", Path.mkdir)))
    monkeypatch.chdir(tmp_path)
    photograph((64, 64)).save("photo.png")
    photograph((90, 64)).save("sea.png")


def typed(*words: Any) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.mark.parametrize("command", ["import", "export"])
def test_it_is_made_and_tells_what_it_is(command: str, adapters: Adapters) -> None:
    done = typed(command, adapters("sd1", "plus").file, "-o", "ipa")
    assert done.exit_code == 0, done.output
    assert "a plus IP-Adapter of 6 tokens of width 32" in done.output
    told = typed("info", "ipa").output
    assert "sees a picture patch by patch" in told
    assert "10 attentions to text of width 32" in told
    assert typed("verify", "ipa").exit_code == 0


def test_a_bundle_says_which_adapters_fit_it(
    adapters: Adapters, tiny_sdxl_bundle: Path, tiny_sd3_bundle: Path
) -> None:
    assert "10 attentions of width 32" in typed("info", adapters("sd1", "base").bundle).output
    assert "of width 80: overpaint run --ip-adapter" in typed("info", tiny_sdxl_bundle).output
    assert "references" not in typed("info", tiny_sd3_bundle).output


def test_a_picture_is_painted_and_painted_again(adapters: Adapters) -> None:
    tiny = adapters("sd1", "base")
    seen = ("--ip-adapter", tiny.adapter, "--ip-adapter-image", "sea.png", "--device", "cpu")
    run = ("run", "photo.png", "a harbour", "--bundle", tiny.bundle, *seen)
    done = typed(*run, "--ip-adapter-scale", 0.6, "--steps", 3, "-o", "out.png")
    assert done.exit_code == 0, done.output
    said = read_parameters("out.png")
    assert (said["ip_adapter"], said["ip_adapter_scale"]) == ("ip-adapter_tiny", 0.6)
    again = ("run", "--repeat", "out.png", "photo.png", "--bundle", tiny.bundle, "-o", "again.png")
    assert "painted with 1 reference pictures" in str(typed(*again).exception)
    done = typed(*again, *seen)
    assert done.exit_code == 0, done.output
    assert "pixels may differ" not in done.output
    assert Path("out.png").read_bytes() == Path("again.png").read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--ip-adapter-image", "sea.png"), "with --ip-adapter FOLDER"),
        (("--ip-adapter-scale", "0.6"), "there is no reference picture"),
        (("--ip-adapter-scale", "0.6,much"), "expected a number, or several as in 0.6,0.3"),
        (("--ip-adapter", "ipa"), "name --ip-adapter-image"),
    ],
)
def test_half_of_what_is_needed_is_refused(words: tuple[str, ...], message: str) -> None:
    done = typed("run", "photo.png", "a harbour", "-o", "out.png", *words)
    assert message in str(done.exception)
    assert not Path("out.png").exists()


def test_a_file_that_nobody_imported_is_told_how_to_be(adapters: Adapters) -> None:
    tiny = adapters("sd1", "base")
    seen = ("--ip-adapter", tiny.file, "--ip-adapter-image", "sea.png")
    done = typed("run", "photo.png", "a harbour", "--bundle", tiny.bundle, *seen, "-o", "out.png")
    assert "overpaint import" in str(done.exception)
