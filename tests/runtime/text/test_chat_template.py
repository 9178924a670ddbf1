"""Qwen3 is told a prompt as transformers tells it a user's message, token by token."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import transformers

from overpaint.bundle.facts import Text, TextEncoder
from overpaint.bundle.format.manifest_file import read_manifest
from overpaint.export.tokenizers import AWKWARD
from overpaint.runtime.text.chunks import Chunk, Prompting, chunked
from overpaint.runtime.text.conditioning import Embedding, Prompts
from overpaint.runtime.text.flux2_klein import condition as klein
from overpaint.runtime.text.tokens import load_tokenizer
from overpaint.runtime.text.z_image import condition

MORE = (
    "\nfrom its first line",
    "its last\n\n",
    "<|im_end|> of its own <|im_start|>",
    "word " * 600,
)


def told_klein(bundle: Path, prompt: str, length: int) -> tuple[list[int], list[int]]:
    """The ids that Qwen3 is fed with for FLUX.2 klein, and which of them are the message's."""
    tokenizer = load_tokenizer(bundle / "tokenizer")
    [encoder] = read_manifest(bundle).text.encoders
    assert (encoder.length, encoder.hidden) == (512, "hidden_states.1-2-3")
    fed: list[Chunk] = []

    def encode(encoder: TextEncoder, text: str, /, *, negative: bool = False) -> Embedding:
        found = chunked(tokenizer, text, encoder, Prompting())
        fed.extend(found.chunks)
        return Embedding(np.zeros((1, encoder.length, 2), np.float32), None, found.cut)

    asked = Prompts(prompt=prompt, negative_prompt=None, guided=False, size=(64, 64))
    made = klein(Text(encoders=(msgspec.structs.replace(encoder, length=length),)), asked, encode)
    assert made.positive["encoder_hidden_states"].shape == (1, length, 2)
    [chunk] = fed
    return chunk.ids[0].tolist(), chunk.mask[0].tolist()


def told(bundle: Path, prompt: str, length: int) -> tuple[list[int], tuple[str, ...]]:
    """The ids that Qwen3 is fed with, and what was cut."""
    tokenizer = load_tokenizer(bundle / "tokenizer")
    ids: list[list[int]] = []

    def encode(encoder: TextEncoder, text: str, /, *, negative: bool = False) -> Embedding:
        found = chunked(tokenizer, text, encoder, Prompting())
        [chunk] = found.chunks
        ids.append(chunk.ids[0].tolist())
        return Embedding(np.zeros((1, chunk.ids.shape[1], 2), np.float32), None, found.cut)

    encoder = TextEncoder(
        component="text_encoder",
        tokenizer="tokenizer",
        kind="qwen3",
        length=length,
        pad_token_id=0,
        hidden="hidden_states.2",
    )
    asked = Prompts(prompt=prompt, negative_prompt=None, guided=False, size=(64, 64))
    made = condition(Text(encoders=(encoder,)), asked, encode)
    assert made.positive["caption_length"].tolist() == [len(ids[0])]
    rows = made.positive["encoder_hidden_states"].shape[1]
    assert rows % 32 == 0
    assert 0 <= rows - len(ids[0]) < 32
    return ids[0], made.cut


@pytest.mark.parametrize("length", [512, 7])
def test_every_token_of_the_template_and_the_prompt_is_transformers_own(
    length: int, tiny_z_image: Path, tiny_z_image_bundle: Path
) -> None:
    theirs = transformers.AutoTokenizer.from_pretrained(tiny_z_image / "tokenizer")
    for prompt in (*AWKWARD, *MORE):
        text = theirs.apply_chat_template(
            [{"role": "user", "content": prompt}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=True,
        )
        wanted = theirs(text, truncation=True, max_length=length).input_ids
        assert told(tiny_z_image_bundle, prompt, length)[0] == wanted, prompt


@pytest.mark.parametrize("length", [512, 11])
def test_a_message_is_filled_up_and_answered_at_once_as_klein_was_trained_for(
    length: int, tiny_klein: Path, tiny_klein_bundle: Path
) -> None:
    theirs = transformers.AutoTokenizer.from_pretrained(tiny_klein / "tokenizer")
    for prompt in (*AWKWARD, *MORE):
        text = theirs.apply_chat_template(
            [{"role": "user", "content": prompt}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,
        )
        wanted = theirs(text, padding="max_length", truncation=True, max_length=length)
        ids, mask = told_klein(tiny_klein_bundle, prompt, length)
        assert (ids, mask) == (wanted.input_ids, wanted.attention_mask), prompt


def test_what_does_not_fit_is_said_without_the_template(tiny_z_image_bundle: Path) -> None:
    _, cut = told(tiny_z_image_bundle, "a lynx in the snow", 512)
    assert cut == ()
    ids, [cut] = told(tiny_z_image_bundle, "a lynx in the snow", 12)
    assert len(ids) == 12
    assert "a lynx in the snow".endswith(cut)
