"""How each family turns text into conditioning: joins, zeros, pooled vectors, time ids."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from overpaint.bundle.errors import ManifestError
from overpaint.bundle.facts import Text, TextEncoder
from overpaint.runtime.text.conditioning import Condition, Embedding, Prompts
from overpaint.runtime.text.flux1 import condition as flux1
from overpaint.runtime.text.one_clip import condition as sd
from overpaint.runtime.text.sd3 import condition as sd3
from overpaint.runtime.text.sdxl import condition as sdxl
from overpaint.runtime.text.z_image import condition as z_image


def encoder(name: str, kind: str = "clip") -> TextEncoder:
    return TextEncoder(
        component=name,
        tokenizer=name,
        kind=kind,  # type: ignore[arg-type]
        length=4,
        pad_token_id=0,
        hidden="last_hidden_state",
    )


L, G, T5 = encoder("l"), encoder("g"), encoder("t5", "t5")
WIDTHS = {"l": 2, "g": 3, "t5": 8}
LENGTHS = {"l": 4, "g": 4, "t5": 6}


def encode(
    spec: TextEncoder,
    prompt: str,
    pooled: tuple[str, ...] = ("l", "g"),
    *,
    negative: bool = False,
) -> Embedding:
    """Every number tells the prompt's length, and which encoder it is."""
    name = spec.component
    value = len(prompt) + {"l": 0.1, "g": 0.2, "t5": 0.3}[name]
    hidden = np.full((1, LENGTHS[name], WIDTHS[name]), value, np.float32)
    vector = hidden[:, 0] * 10 if name in pooled else None
    return Embedding(hidden, vector, "the end" if len(prompt) > 20 else "")


def encode_xl(spec: TextEncoder, prompt: str, *, negative: bool = False) -> Embedding:
    return encode(spec, prompt, pooled=("g",))


def prompts(negative: str | None, *, guided: bool = True) -> Prompts:
    return Prompts(prompt="cat", negative_prompt=negative, guided=guided, size=(96, 64))


def test_sd_takes_an_absent_negative_prompt_for_the_empty_one() -> None:
    absent, empty = (sd(Text(encoders=(L,)), prompts(negative), encode) for negative in (None, ""))
    assert absent.negative is not None
    assert empty.negative is not None
    one, other = absent.negative["encoder_hidden_states"], empty.negative["encoder_hidden_states"]
    assert (one == other).all()
    assert (one == np.float32(0.1)).all()


@pytest.mark.parametrize(
    ("family", "encoders"),
    [(sd, (L,)), (sdxl, (L, G)), (sd3, (L, G, T5))],
    ids=["sd", "sdxl", "sd3"],
)
def test_without_guidance_no_negative_prompt_is_encoded(
    family: Condition, encoders: tuple[TextEncoder, ...]
) -> None:
    asked: list[str] = []

    def noting(spec: TextEncoder, prompt: str, *, negative: bool = False) -> Embedding:
        asked.append(prompt)
        return (encode_xl if family is sdxl else encode)(spec, prompt)

    got = family(Text(encoders=encoders), prompts("dog", guided=False), noting)
    assert got.negative is None
    assert asked == ["cat"] * len(encoders)


def test_sdxl_joins_contexts_side_by_side_and_pools_the_second_alone() -> None:
    got = sdxl(Text(encoders=(L, G)), prompts(""), encode_xl).positive
    context = got["encoder_hidden_states"]
    assert context.shape == (1, 4, 5)
    assert context[0, 0] == pytest.approx([3.1, 3.1, 3.2, 3.2, 3.2])
    assert got["text_embeds"].shape == (1, 3)
    assert got["time_ids"].tolist() == [[64, 96, 0, 0, 64, 96]]
    assert got["time_ids"].dtype == np.float32


def test_sdxl_takes_zeros_for_an_absent_negative_prompt_but_encodes_an_empty_one() -> None:
    text = Text(encoders=(L, G), zeros_for_absent_negative=True)
    absent, empty = (sdxl(text, prompts(negative), encode_xl).negative for negative in (None, ""))
    assert absent is not None
    assert empty is not None
    assert not absent["encoder_hidden_states"].any()
    assert not absent["text_embeds"].any()
    assert absent["time_ids"].tolist() == [[64, 96, 0, 0, 64, 96]]
    assert empty["encoder_hidden_states"].all()
    without = sdxl(Text(encoders=(L, G)), prompts(None), encode_xl).negative
    assert without is not None
    assert without["encoder_hidden_states"].all()


def test_a_refiner_is_told_an_aesthetic_score_and_a_poor_one_on_the_negative_side() -> None:
    text = Text(encoders=(G,), aesthetic_score=True)
    got = sdxl(text, prompts("dog"), encode_xl)
    assert got.negative is not None
    assert got.positive["time_ids"].tolist() == [[64, 96, 0, 0, 6.0]]
    assert got.negative["time_ids"].tolist() == [[64, 96, 0, 0, 2.5]]


def test_sd3_pads_the_clips_to_t5_and_puts_t5_behind_them() -> None:
    got = sd3(Text(encoders=(L, G, T5)), prompts(None), encode)
    context = got.positive["encoder_hidden_states"]
    assert context.shape == (1, 4 + 6, 8)
    assert context[0, 0] == pytest.approx([3.1, 3.1, 3.2, 3.2, 3.2, 0, 0, 0])
    assert context[0, 4:] == pytest.approx(3.3)
    assert got.positive["pooled_projections"][0] == pytest.approx([31, 31, 32, 32, 32])
    assert got.negative is not None
    assert got.negative["encoder_hidden_states"][0, 4:] == pytest.approx(0.3)


def test_flux_reads_t5_and_takes_clip_pooled_alone() -> None:
    clip = replace(L, hidden=None)
    got = flux1(Text(encoders=(clip, T5)), prompts(None), encode)
    assert got.positive["encoder_hidden_states"].shape == (1, 6, 8)
    assert got.positive["encoder_hidden_states"][0] == pytest.approx(3.3)
    assert got.positive["pooled_projections"][0] == pytest.approx([31, 31])
    assert got.negative is not None
    assert got.negative["encoder_hidden_states"][0] == pytest.approx(0.3)


def test_z_image_has_each_prompt_in_whole_groups_of_tokens_and_says_how_many_are_its_own() -> None:
    """Prompts whose groups are as many share a call of the denoiser, and others do not."""

    def as_long(spec: TextEncoder, prompt: str, *, negative: bool = False) -> Embedding:
        assert prompt.startswith("<|im_start|>user\n")
        assert prompt.endswith("<|im_end|>\n<|im_start|>assistant\n")
        return Embedding(np.ones((1, len(prompt) - 40, 2), np.float32), None, "")

    text = Text(encoders=(encoder("text_encoder", "qwen3"),))
    for negative, rows in (("a dog", 32), ("a dog" * 6, 64)):
        got = z_image(text, prompts(negative), as_long)
        assert got.negative is not None
        shapes = [side["encoder_hidden_states"].shape for side in (got.positive, got.negative)]
        assert shapes == [(1, 32, 2), (1, rows, 2)]
        [length] = got.positive["caption_length"]
        assert got.positive["encoder_hidden_states"][0].any(axis=-1).sum() == length
        calls = got.calls
        assert len(calls) == (1 if rows == 32 else 2)
        assert [len(one.batch(2)["caption_length"]) for one in calls] == [4 // len(calls)] * len(
            calls
        )
    assert len(z_image(text, prompts(None, guided=False), as_long).calls) == 1


def test_sd3_without_t5_has_zeros_in_its_place() -> None:
    text = Text(encoders=(L, G), t5_length=6, t5_width=8)
    context = sd3(text, prompts(""), encode).positive["encoder_hidden_states"]
    assert context.shape == (1, 10, 8)
    assert not context[0, 4:].any()
    with pytest.raises(ManifestError, match="t5_length"):
        sd3(Text(encoders=(L, G)), prompts(""), encode)


def test_a_batch_repeats_each_side_with_the_negative_one_first() -> None:
    batch = sdxl(Text(encoders=(L, G)), prompts("elephant"), encode_xl).batch(2)
    assert batch["encoder_hidden_states"][:, 0, 0] == pytest.approx([8.1, 8.1, 3.1, 3.1])
    assert batch["time_ids"].shape == (4, 6)


def test_what_two_encoders_cut_alike_is_told_once() -> None:
    long = Prompts(prompt="x" * 30, negative_prompt="", guided=True, size=(8, 8))
    assert sdxl(Text(encoders=(L, G)), long, encode_xl).cut == ("the end",)
