"""A folder run goes on where it stopped, exactly; another keeps out; what is left is counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from tests.cli.typed import Command, Outcome, files, pictures
from tests.doubles.engines import FakeEngines

from overpaint.bundle.errors import SessionError, UsageError
from overpaint.cli.record import FolderRun, recall, remember
from overpaint.runtime import Img2Img
from overpaint.runtime.metadata import read_parameters

ALL = ("a.png", "b.png", "c.png", "red")


def contents(folder: str) -> dict[str, bytes]:
    return {name: (Path(folder) / name).read_bytes() for name in pictures(folder)}


def breaking_off(overpaint: Command, *arguments: object) -> None:
    """A run that is killed when its second picture begins."""
    usual, begun = Img2Img.events, []

    def events(*words: object) -> object:
        begun.append(words)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return usual(*words)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Img2Img, "events", events)
        assert overpaint(*arguments).code == 130


@pytest.mark.parametrize("n", [1, 2])
def test_a_run_that_was_broken_off_goes_on_to_the_very_same_pictures(
    overpaint: Command, opened: list[FakeEngines], n: int
) -> None:
    overpaint(*ALL, "-o", "whole", "-n", n, "--seed", 3)
    breaking_off(overpaint, *ALL, "-o", "painted", "-n", n, "--seed", 3)
    assert len(pictures("painted")) == n
    done = overpaint(*ALL, "-o", "painted", "-n", n, "--seed", 3, "--skip-existing")
    assert done.code == 0
    assert done.err == "overpaint: 1 of 3 pictures were there already\n"
    assert len(done.out.splitlines()) == 2 * n
    assert contents("painted") == contents("whole")
    again = overpaint(*ALL, "-o", "painted", "-n", n, "--seed", 3, "--skip-existing", "--json")
    assert json.loads(again.out)["skipped"] == ["a.png", "b.png", "c.png"]
    assert opened[-1].runs("unet") == 0


def test_a_seed_that_was_not_given_is_remembered(overpaint: Command) -> None:
    breaking_off(overpaint, *ALL, "-o", "painted")
    seed = read_parameters("painted/a.png")["seed"]
    assert overpaint(*ALL, "-o", "painted", "--skip-existing").code == 0
    assert {read_parameters(path)["seed"] for path in Path("painted").glob("*.png")} == {seed}


def test_of_a_picture_with_several_images_the_missing_ones_are_painted(overpaint: Command) -> None:
    words = (*ALL, "-o", "painted", "-n", 3, "--seed", 5)
    overpaint(*words)
    before = contents("painted")
    Path("painted/b-6.png").unlink()
    done = overpaint(*words, "--skip-existing")
    assert [line.split("  ")[0] for line in done.out.splitlines()] == ["painted/b-6.png"]
    assert contents("painted") == before


@pytest.mark.parametrize("skipping", [[], ["--skip-existing"]])
@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (["--strength", "0.7", "--seed", "3"], "strength was not said and is 0.7"),
        (["--strength", "0.7", "--size", "64x64"], "size was not said and is [64, 64]"),
        (["--seed", "4"], "seed was 3 and is 4"),
    ],
)
def test_another_run_into_the_folder_is_refused_and_what_differs_is_said(
    overpaint: Command,
    opened: list[FakeEngines],
    skipping: list[str],
    changed: list[str],
    says: str,
) -> None:
    breaking_off(overpaint, *ALL, "-o", "painted", "--seed", 3)
    before = contents("painted")
    refused = overpaint(*ALL, "-o", "painted", *changed, *skipping)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith("overpaint: painted: holds the pictures of another run")
    assert says in refused.err
    assert contents("painted") == before
    assert len(opened) == 1


def test_another_prompt_and_another_model_are_another_run(
    overpaint: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert overpaint(*ALL, "-o", "painted").code == 0
    done = overpaint(*ALL[:-1], "blue", "-o", "painted", "--skip-existing")
    assert 'prompt was "red" and is "blue"' in done.err
    monkeypatch.setattr("overpaint.cli.painter.model_name", lambda _: "another")
    done = overpaint(*ALL, "-o", "painted", "--skip-existing")
    assert 'and is "another"' in done.err
    assert done.code == 2


def test_force_takes_the_folder_over(overpaint: Command) -> None:
    overpaint(*ALL, "-o", "painted")
    assert overpaint(*ALL[:-1], "blue", "-o", "painted", "--force").code == 0
    assert read_parameters("painted/a.png")["prompt"] == "blue"
    assert overpaint(*ALL[:-1], "blue", "-o", "painted", "--skip-existing").code == 0
    assert "another run" in overpaint(*ALL, "-o", "painted", "--skip-existing").err


def test_more_pictures_may_join_and_none_takes_anothers_name(overpaint: Command) -> None:
    Path("in").mkdir()
    Image.new("RGB", (64, 64), "navy").save("in/b.png")
    assert overpaint("in", "red", "-o", "painted").code == 0
    Image.new("RGB", (64, 64), "teal").save("in/c.png")
    assert overpaint("in", "red", "-o", "painted", "--skip-existing").code == 0
    assert pictures("painted") == {"b.png", "c.png"}
    Image.new("RGB", (64, 64), "teal").save("in/b.jpg")  # b.png would now be made of this
    done = overpaint("in", "red", "-o", "painted", "--skip-existing")
    assert done.code == 2
    assert "b.png was painted from" in done.err


def test_a_picture_that_was_edited_since_is_painted_anew(overpaint: Command) -> None:
    overpaint(*ALL, "-o", "painted", "--seed", 3)
    before = contents("painted")
    Image.new("RGB", (64, 48), "orange").save("b.png")
    Image.open("c.png").save("c.png", compress_level=1)  # other bytes, the same pixels
    done = overpaint(*ALL, "-o", "painted", "--seed", 3, "--skip-existing")
    assert (done.code, done.err) == (0, "overpaint: 2 of 3 pictures were there already\n")
    after = contents("painted")
    assert {name for name in after if after[name] != before[name]} == {"b.png"}


def test_a_folder_that_is_painted_into_itself_goes_on(overpaint: Command) -> None:
    Path("in").mkdir()
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (64, 64), "navy").save(Path("in") / name)
    assert overpaint("in", "red", "-o", "in").code == 0
    Path("in/b.png").unlink()
    done = overpaint("in", "red", "-o", "in", "--skip-existing")
    assert (done.code, len(done.out.splitlines())) == (0, 1)
    assert pictures("in") == {"a.jpg", "a.png", "b.jpg", "b.png"}


def test_a_file_of_unknown_origin_is_not_taken_for_ours(
    overpaint: Command, opened: list[FakeEngines]
) -> None:
    Path("painted").mkdir()
    Path("painted/b.png").write_text("a stranger")
    done = overpaint(*ALL, "-o", "painted", "--skip-existing")
    assert done.code == 1
    assert "painted/b.png: exists already, and no overpaint-run.json" in done.err
    assert opened == []


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"asked": {}, "pictures": {"a": 1}}', "\x00", "[" * 10_000]
)
def test_a_record_that_is_damaged_is_one_line(overpaint: Command, content: str) -> None:
    Path("painted").mkdir()
    Path("painted/overpaint-run.json").write_text(content)
    done = overpaint(*ALL, "-o", "painted", "--skip-existing")
    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert "painted/overpaint-run.json: cannot be read" in done.err
    assert overpaint(*ALL, "-o", "painted", "--force").code == 0


def test_a_record_without_a_seed_is_another_run(overpaint: Command) -> None:
    Path("painted").mkdir()
    Path("painted/overpaint-run.json").write_text('{"asked": {"seed": "x"}, "pictures": {}}')
    assert 'seed was "x"' in overpaint(*ALL, "-o", "painted", "--skip-existing").err


def test_two_runs_that_begin_at_once_do_not_share_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second finds no record when it looks, and one when it writes its own."""
    first, second = (FolderRun(asked={"seed": seed}, pictures={}) for seed in (1, 2))
    remember(tmp_path, first, force=False)
    looks = iter([None, first])
    monkeypatch.setattr("overpaint.cli.record.recall", lambda _: next(looks))
    with pytest.raises(UsageError, match="seed was 1 and is 2"):
        remember(tmp_path, second, force=False)
    assert recall(tmp_path) == first


def test_what_contradicts_skipping_is_refused(overpaint: Command) -> None:
    assert "--force" in overpaint(*ALL, "-o", "painted", "--skip-existing", "--force").err
    done = overpaint("a.png", "red", "-o", "out.png", "--skip-existing")
    assert (done.code, files()) == (2, {"a.png", "b.png", "c.png"})
    assert "--skip-existing" in done.err


def test_what_is_passed_over_in_a_folder_is_counted_and_told(overpaint: Command) -> None:
    Path("in/deeper").mkdir(parents=True)
    Path("a.png").rename("in/a.png")
    for name in ("notes.txt", "film.mov", "z.psd", ".hidden", "overpaint-run.json"):
        (Path("in") / name).write_text("")
    done = overpaint("in", "red", "-o", "one")
    assert done.code == 0
    told = "passed over 4 that by name are no pictures: in/deeper, in/film.mov, in/notes.txt, …"
    assert told in done.err
    done = overpaint("in", "red", "-o", "two", "--json")
    others = ["in/deeper", "in/film.mov", "in/notes.txt", "in/z.psd"]
    assert json.loads(done.out)["not_pictures"] == others


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_argument_is_not_the_current_folder(overpaint: Command, empty: str) -> None:
    before = files()
    refused: list[Outcome] = [
        overpaint(empty, "red", "-o", "painted"),
        overpaint("a.png", empty, "red", "-o", "painted"),
        overpaint("a.png", "red", "-o", empty),
    ]
    for done in refused:
        assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
        assert "is a variable not set?" in done.err
    assert files() == before


def test_a_failure_in_a_folder_run_names_its_picture(
    overpaint: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise SessionError("the engine failed")

    monkeypatch.setattr(Img2Img, "events", broken)
    done = overpaint("a.png", "b.png", "red", "-o", "painted")
    assert done.err.splitlines()[:2] == [
        "overpaint: a.png: the engine failed",
        "overpaint: b.png: the engine failed",
    ]
    Path("in").mkdir()
    Path("c.png").rename("in/c.png")
    done = overpaint("in", "red", "-o", "one")
    assert done.err.splitlines() == [
        "overpaint: in/c.png: the engine failed",
        "overpaint: 1 of 1 pictures failed",
    ]
