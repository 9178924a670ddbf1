"""No damaged bundle or picture ends in a traceback: a few hundred of each, the same every time."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hostile_files import Bundles, Case, Graphs, Kind, Pictures, formats, study

from overpaint.bundle import layout
from overpaint.bundle.errors import IntegrityError
from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.format.verify import verify_bundle


@pytest.mark.parametrize(("kind", "cases"), [("bundle", 100), ("picture", 400), ("graph", 30)])
def test_damaged_files_are_read_or_refused_in_one_line(
    kind: Kind, cases: int, tmp_path: Path
) -> None:
    damaged = (Case(kind, 1, number) for number in range(cases))
    tried, findings = study(damaged, keep=tmp_path / "kept", quiet=True)
    assert tried[kind] == cases
    assert [one for one in findings if one.ours] == []


def test_a_graph_that_its_manifest_does_not_vouch_for_never_gets_to_onnxruntime(
    tmp_path: Path,
) -> None:
    graphs = Graphs(tmp_path)
    for number in range(5):
        component, changed = graphs.make(Case("graph", 1, number))
        del changed[layout.MANIFEST]
        (path,) = changed
        with (
            graphs.bundles.holding(changed),
            pytest.raises(IntegrityError, match=f"{path}: (changed|expected [0-9]+ bytes)"),
        ):
            graphs.open_engine(component)


@pytest.mark.parametrize(
    ("number", "what"),
    [
        (26, "a config that nests deep"),
        (379, "a safetensors header that nests deep"),
        (340, "a tokenizer whose library answers in several lines"),
        (550, "a scheduler config with a lone surrogate"),
        (248, "betas whose root is complex"),
    ],
)
def test_what_ended_in_a_traceback_once_does_so_no_more(
    number: int, what: str, tmp_path: Path
) -> None:
    _, findings = study(iter([Case("bundle", 11, number)]), keep=tmp_path / "kept", quiet=True)
    assert findings == []


def test_a_graph_whose_node_lacks_its_inputs_is_refused_by_onnxruntime(tmp_path: Path) -> None:
    """They were looked at before the engine was."""
    _, findings = study(iter([Case("graph", 1, 13)]), keep=tmp_path / "kept", quiet=True)
    assert findings == []


def test_what_is_damaged_was_whole(tmp_path: Path) -> None:
    bundles = Bundles(tmp_path)
    assert verify_bundle(bundles.folder).whole
    bundles.run(Case("bundle", 0, 0))
    assert open_bundle(bundles.folder).inferred == ()  # and is again


def test_a_case_is_the_same_again() -> None:
    once, again = (Pictures(Path()).make(Case("picture", 3, 4)) for _ in range(2))
    assert once == again
    assert len({Pictures(Path()).make(Case("picture", 3, number)) for number in range(9)}) > 7


def test_whatever_escapes_is_a_finding_whose_file_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Pictures, case: Case) -> None:
        raise KeyError(case.number)

    monkeypatch.setattr(Pictures, "run", fail)
    tried, [finding] = study(iter([Case("picture", 0, 5)]), keep=tmp_path, quiet=True)
    assert tried["picture"] == 1
    assert finding.case == "picture:0:5"
    assert "KeyError: 5" in finding.how
    assert (tmp_path / "picture-0-5").read_bytes() == Pictures(Path()).make(Case("picture", 0, 5))


def test_a_case_that_takes_too_long_or_kills_its_process_is_one_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(self: Pictures, case: Case) -> None:
        time.sleep(60) if case.number else os._exit(3)

    monkeypatch.setattr(Pictures, "run", hang)
    monkeypatch.setattr("hostile_files.SECONDS", 0.5)
    cases = (Case("picture", 0, number) for number in range(2))
    _, [killed, late] = study(cases, keep=tmp_path, quiet=True)
    assert "ended with 3" in killed.how
    assert "more than 0.5 s" in late.how


def test_pillows_formats_are_all_tried() -> None:
    assert set(formats()) >= {"PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"}
