"""The script that measures true sizes: its checkpoints are whole, and the docs have its figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from real_checkpoint import write_file, write_folder
from real_sizes import Work, table
from stored_tensors import write_t5_tokenizer
from tests.bundle.single_files import tiny_library
from tests.checkpoints import clip_vocabulary
from tokenizers import Tokenizer

from overpaint.bundle.format.manifest_file import read_manifest
from overpaint.bundle.importing import import_checkpoint
from overpaint.bundle.importing.library import Library
from overpaint.bundle.tokenizer.files import pad_token_id

HOUSE = Path(__file__).parents[2]
RESULTS = sorted((HOUSE / "bench" / "results").glob("real-sizes-*.json"))


@pytest.fixture(scope="module")
def library(
    checkpoints: dict[str, Path], bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Library:
    models = {family: (checkpoints[family], bundles[family]) for family in ("sdxl", "sd3")}
    merges = "".join(f"{left} {right}\n" for left, right in clip_vocabulary()[1])
    return tiny_library(tmp_path_factory.mktemp("library") / "tiny", models, merges)


@pytest.mark.parametrize("family", ["sdxl", "sd3"])
@pytest.mark.parametrize(("write", "name"), [(write_folder, "a"), (write_file, "a.safetensors")])
def test_a_checkpoint_of_random_weights_is_a_whole_one(
    family: str, write: Callable[..., Path], name: str, library: Library, tmp_path: Path
) -> None:
    made = write(library, family, tmp_path / name, without=("text_encoder_3",))
    imported = import_checkpoint(made, tmp_path / "bundle", library=library)
    assert imported.architecture == family
    assert "text_encoder_3" not in read_manifest(tmp_path / "bundle").components


def test_t5_s_stand_in_reads_a_prompt_and_ends_it_as_t5_does(tmp_path: Path) -> None:
    write_t5_tokenizer(tmp_path, 500)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == 500
    assert pad_token_id(tmp_path) == tokenizer.token_to_id("<pad>") == 0
    ids = tokenizer.encode("a lighthouse, at dusk").ids
    assert ids[-1] == tokenizer.token_to_id("</s>")
    assert tokenizer.token_to_id("<unk>") not in ids


def test_every_step_names_what_it_makes(tmp_path: Path) -> None:
    work = Work(tmp_path, "sdxl-base", "--size 512x512")
    for step, folder in (("export-reduced", "exported"), ("import-file", "imported")):
        assert work.command(step)[1] == tmp_path / folder
    command, picture = work.command("run-exported")
    assert str(tmp_path / "exported") in command
    assert picture.suffix == ".png"


@pytest.mark.parametrize("results", RESULTS, ids=lambda path: path.stem)
def test_the_docs_have_the_figures_that_were_measured(results: Path) -> None:
    rows = json.loads(results.read_text())["rows"]
    assert table(rows) in (HOUSE / "docs" / "importing.md").read_text("utf-8")


def test_there_are_figures() -> None:
    assert RESULTS
