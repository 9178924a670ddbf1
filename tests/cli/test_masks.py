"""`overpaint run --mask`: on the command line as in Python."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.cli.test_repeat import Run
from tests.cli.test_repeat import run as run

from overpaint.runtime import Img2Img
from overpaint.runtime.metadata import read_parameters


@pytest.fixture
def mask(run: Run) -> Path:
    """The left half of photo.png, beside it."""
    image = Image.new("L", (64, 64), 0)
    image.paste(255, (0, 0, 32, 64))
    image.save("mask.png")
    return Path("mask.png")


def test_it_paints_what_python_paints(run: Run, mask: Path) -> None:
    asked = ("photo.png", "winter", "--mask", mask, "--steps", 3, "--seed", 7, "--strength", 1)
    assert run(*asked, "-o", "painted.png").code == 0
    with Img2Img.open() as pipe:
        result = pipe("photo.png", "winter", mask=mask, steps=3, seed=7, strength=1.0)
    painted = np.asarray(Image.open("painted.png"))
    assert (painted == np.asarray(result.images[0])).all()
    assert (painted[:, 32:] == np.asarray(Image.open("photo.png"))[:, 32:]).all()


def test_without_pasting_the_picture_is_the_runs(run: Run, mask: Path) -> None:
    asked = ("photo.png", "winter", "--mask", mask, "--steps", 3, "--seed", 7, "--no-mask-paste")
    assert run(*asked, "-o", "painted.png").code == 0
    painted = np.asarray(Image.open("painted.png"))
    assert (painted != np.asarray(Image.open("photo.png"))).any(axis=2).mean() > 0.9


def test_a_masked_picture_is_repeated_with_its_mask(run: Run, mask: Path) -> None:
    asked = ("photo.png", "winter", "--mask", mask, "--mask-blur", 2, "--steps", 3)
    run(*asked, "-o", "painted.png")
    missing = run("--repeat", "painted.png", "photo.png", "-o", "again.png")
    assert missing.code == 2
    assert "was painted with a mask; name it with --mask" in " ".join(missing.err.split())
    done = run("--repeat", "painted.png", "photo.png", "--mask", mask, "-o", "again.png")
    assert (done.code, done.err) == (0, "")
    assert Path("painted.png").read_bytes() == Path("again.png").read_bytes()


def test_another_mask_is_told_of(run: Run, mask: Path) -> None:
    run("photo.png", "winter", "--mask", mask, "--steps", 3, "-o", "painted.png")
    Image.new("L", (64, 64), 255).save("all.png")
    done = run("--repeat", "painted.png", "photo.png", "--mask", "all.png", "-o", "again.png")
    assert "painted.png was painted with mask_sha256" in " ".join((done.out + done.err).split())


def test_a_wider_canvas_is_painted_around_the_picture(run: Run) -> None:
    asked = ("photo.png", "winter", "--extend", "32,0,0,16", "--strength", 1, "--steps", 3)
    assert run(*asked, "-o", "wide.png").code == 0
    wide = Image.open("wide.png")
    assert wide.size == (96, 80)
    inside = np.asarray(wide.crop((32, 0, 96, 64)))
    assert (inside == np.asarray(Image.open("photo.png"))).all()
    assert read_parameters("wide.png")["extend"] == [32, 0, 0, 16]
    assert run("--repeat", "wide.png", "photo.png", "-o", "again.png").code == 0
    assert Path("wide.png").read_bytes() == Path("again.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--extend", "32"), "expected LEFT,TOP,RIGHT,BOTTOM"),
        (("--mask", "gone.png"), "gone.png: no such file"),
        (("--mask-blur", "4"), "mask_blur: there is no mask"),
        (("--mask", "mask.png", "--mask-mode", "softly"), "soft"),
    ],
)
def test_what_cannot_be_meant_is_told_before_anything_is_opened(
    run: Run, mask: Path, arguments: tuple[str, ...], told: str
) -> None:
    done = run("photo.png", "winter", *arguments, "-o", "painted.png")
    assert done.code != 0
    assert told in " ".join(done.err.split())
    assert not Path("painted.png").exists()


def test_a_mask_is_never_written_over(run: Run, mask: Path) -> None:
    before = mask.read_bytes()
    done = run("photo.png", "winter", "--mask", mask, "-o", mask, "--force")
    assert done.code != 0
    assert mask.read_bytes() == before


def test_a_folder_run_remembers_its_mask(run: Run, mask: Path) -> None:
    asked = ("photo.png", "other.png", "winter", "--steps", 2, "-o", "out")
    assert run(*asked, "--mask", mask).code == 0
    record = json.loads(Path("out/overpaint-run.json").read_text())
    assert len(record["asked"]["mask"]) == 64
    Image.new("L", (64, 64), 255).save("all.png")
    another = run(*asked, "--mask", "all.png", "--skip-existing")
    assert another.code == 2
    assert "mask was" in " ".join(another.err.split())
