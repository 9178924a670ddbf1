"""tokenizer.json from CLIP's vocab.json and merges.txt, against transformers, id by id."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.checkpoints import write_clip_vocabulary
from tokenizers import Tokenizer

from overpaint.bundle.errors import CheckpointError, ParityError
from overpaint.bundle.tokenizer.clip import END, read_clip_tokenizer
from overpaint.export.tokenizers import AWKWARD, write_tokenizer


def as_published(folder: Path, pad: str) -> Path:
    """The files as Stable Diffusion 1.5's and 2.1's repositories have them."""
    folder.mkdir()
    write_clip_vocabulary(folder)
    options = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    roles: dict[str, Any] = {
        "bos_token": {"content": "<|startoftext|>", **options},
        "eos_token": {"content": "<|endoftext|>", **options},
        "unk_token": {"content": "<|endoftext|>", **options},
        "pad_token": pad,
    }
    (folder / "special_tokens_map.json").write_text(json.dumps(roles))
    tagged = {k: {"__type": "AddedToken", **v} if k != "pad_token" else v for k, v in roles.items()}
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                **tagged,
                "tokenizer_class": "CLIPTokenizer",
                "do_lower_case": True,
                "model_max_length": 77,
            }
        )
    )
    return folder


def as_saved_later(folder: Path, pad: str) -> Path:
    """The files as transformers 4.34 and later save them: tokens by text, options in a list."""
    folder.mkdir()
    write_clip_vocabulary(folder)
    options = {"lstrip": False, "rstrip": False, "single_word": False, "special": True}
    added = {
        "49406": {"content": "<|startoftext|>", "normalized": True, **options},
        "49407": {"content": "<|endoftext|>", "normalized": True, **options},
    }
    if pad == "!":
        added = {"0": {"content": "!", "normalized": False, **options}, **added}
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "added_tokens_decoder": added,
                "bos_token": "<|startoftext|>",
                "eos_token": "<|endoftext|>",
                "unk_token": "<|endoftext|>",
                "pad_token": pad,
                "model_max_length": 77,
                "tokenizer_class": "CLIPTokenizer",
            }
        )
    )
    return folder


@pytest.fixture(
    scope="module",
    params=[(write, pad) for write in (as_published, as_saved_later) for pad in (END, "!")],
    ids=["CLIP-L", "CLIP-G", "CLIP-L, saved later", "CLIP-G, saved later"],
)
def clip(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokenizer, Any]:
    write, pad = request.param
    folder = write(tmp_path_factory.mktemp("clip") / "tokenizer", pad)
    return read_clip_tokenizer(folder), transformers.CLIPTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("prompt", AWKWARD, ids=range(len(AWKWARD)))
def test_clip_gives_the_same_ids_as_transformers(clip: tuple[Tokenizer, Any], prompt: str) -> None:
    ours, theirs = clip
    assert ours.encode(prompt).ids == theirs(prompt).input_ids


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=st.text(max_size=60))
def test_clip_gives_the_same_ids_for_any_text(clip: tuple[Tokenizer, Any], text: str) -> None:
    ours, theirs = clip
    assert ours.encode(text).ids == theirs(text).input_ids


def test_a_prompt_stands_between_start_and_end(clip: tuple[Tokenizer, Any]) -> None:
    assert clip[0].encode("a photo of a cat").ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert clip[0].encode("").ids == [49406, 49407]


def test_an_exclamation_mark_is_padding_to_clip_g_and_punctuation_to_clip_l(tmp_path: Path) -> None:
    clip_l = read_clip_tokenizer(as_published(tmp_path / "l", "<|endoftext|>"))
    clip_g = read_clip_tokenizer(as_published(tmp_path / "g", "!"))
    assert clip_l.encode("hello!").ids[1:-1] == [3306, 256]
    assert clip_g.encode("hello!").ids[1:-1] == [3306, 0]


def test_export_writes_tokenizer_json_beside_the_files_it_came_from(
    tiny_sd1: Path, tmp_path: Path
) -> None:
    write_tokenizer(tiny_sd1 / "tokenizer", tmp_path / "tokenizer")
    written = {path.name for path in (tmp_path / "tokenizer").iterdir()}
    assert {"tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json"} <= written
    ours = Tokenizer.from_file(str(tmp_path / "tokenizer/tokenizer.json"))
    theirs = transformers.CLIPTokenizer.from_pretrained(tiny_sd1 / "tokenizer")
    assert ours.encode("naïve café").ids == theirs("naïve café").input_ids


def test_t5_keeps_its_own_tokenizer_json(tiny_sd3: Path, tmp_path: Path) -> None:
    write_tokenizer(tiny_sd3 / "tokenizer_3", tmp_path / "tokenizer_3")
    theirs = transformers.T5TokenizerFast.from_pretrained(tiny_sd3 / "tokenizer_3")
    ours = Tokenizer.from_file(str(tmp_path / "tokenizer_3/tokenizer.json"))
    for prompt in AWKWARD:
        assert ours.encode(prompt).ids == theirs(prompt).input_ids


def test_a_tokenizer_that_differs_from_transformers_stops_the_export(
    tiny_sd1: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_lower_case(folder: Path) -> Tokenizer:
        tokenizer = read_clip_tokenizer(folder)
        tokenizer.normalizer = None
        return tokenizer

    monkeypatch.setattr(
        "overpaint.bundle.importing.copy_tokenizers.read_clip_tokenizer", without_lower_case
    )
    with pytest.raises(ParityError, match="Leading, TRAILING"):
        write_tokenizer(tiny_sd1 / "tokenizer", tmp_path / "tokenizer")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("vocab.json", "{", "expected JSON"),
        ("vocab.json", "[]", "expected a JSON object"),
        ("vocab.json", '{"a": 0}', "startoftext"),
        ("merges.txt", "#version: 0.2\ni n\nthree are many\n", "line 3"),
        ("merges.txt", "#version: 0.2\nno such\n", "disagree"),
    ],
)
def test_damaged_vocabularies_are_refused_in_one_line(
    tmp_path: Path, file: str, content: str, message: str
) -> None:
    folder = as_published(tmp_path / "clip", "!")
    (folder / file).write_text(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_clip_tokenizer(folder)
    assert "\n" not in str(caught.value)


def test_a_missing_vocabulary_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"vocab\.json: cannot be read"):
        read_clip_tokenizer(tmp_path)
