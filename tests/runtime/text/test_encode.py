"""Prompts become token ids and embeddings, each once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.doubles.engines import LENGTH, FakeEngines, fake_bundle

from overpaint.bundle.errors import IntegrityError
from overpaint.runtime.components import Components
from overpaint.runtime.stopwatch import Stopwatch
from overpaint.runtime.text import Prompting, TextEncoders
from overpaint.runtime.text.chunks import chunked
from overpaint.runtime.text.encode import CACHED_PROMPTS
from overpaint.runtime.text.tokens import load_tokenizer


@pytest.mark.parametrize("prompting", [Prompting(), Prompting(weights=True)])
def test_a_short_prompt_is_padded_and_a_long_one_named_where_it_is_cut(
    tmp_path: Path, prompting: Prompting
) -> None:
    bundle = fake_bundle(tmp_path)
    tokenizer = load_tokenizer(bundle.folder / "tokenizer")
    [spec] = bundle.manifest.text.encoders

    def read(prompt: str) -> tuple[list[int], str]:
        found = chunked(tokenizer, prompt, spec, prompting)
        [chunk] = found.chunks
        return chunk.ids[0].tolist(), found.cut

    assert read("the red") == ([1, 7, 3, 2, 0, 0], "")
    assert read("the red picture a") == ([1, 7, 3, 8, 6, 2], "")
    assert read("the red picture a blue, green") == ([1, 7, 3, 8, 6, 2], "blue, green")


def test_a_prompt_is_encoded_once_and_the_least_recent_is_forgotten_first(tmp_path: Path) -> None:
    bundle = fake_bundle(tmp_path)
    engines = FakeEngines(bundle.manifest)
    encoders = TextEncoders(bundle.folder, Components(("text_encoder",), engines.open))
    watch = Stopwatch()
    [spec] = bundle.manifest.text.encoders
    first = encoders.encode(spec, "red", watch)
    assert encoders.encode(spec, "red", watch) is first
    assert engines.runs("text_encoder") == 1
    for i in range(CACHED_PROMPTS - 1):
        encoders.encode(spec, "a " * i, watch)
        encoders.encode(spec, "red", watch)
    assert engines.runs("text_encoder") == CACHED_PROMPTS
    encoders.encode(spec, "one more", watch)
    encoders.encode(spec, "red", watch)
    assert engines.runs("text_encoder") == CACHED_PROMPTS + 1
    assert first.hidden.shape == (1, LENGTH, 3)
    assert first.hidden.dtype == np.float32


def test_a_tokenizer_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    bundle = fake_bundle(tmp_path)
    (bundle.folder / "tokenizer" / "tokenizer.json").write_text("{}")
    with pytest.raises(IntegrityError, match="tokenizer"):
        load_tokenizer(bundle.folder / "tokenizer")
    with pytest.raises(IntegrityError, match="nowhere"):
        load_tokenizer(bundle.folder / "nowhere")
