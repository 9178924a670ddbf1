"""A long prompt is chunked where that is asked for, and the picture follows all of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.doubles.engines import LENGTH, FakeEngines, fake_bundle, fake_pipeline

from overpaint.bundle.errors import UsageError
from overpaint.runtime import Img2Img
from overpaint.runtime.components import Components
from overpaint.runtime.metadata import read_parameters
from overpaint.runtime.stopwatch import Stopwatch
from overpaint.runtime.text import Prompting, TextEncoders
from overpaint.runtime.text.chunks import chunked
from overpaint.runtime.text.tokens import load_tokenizer

CHUNKS, WEIGHTS = Prompting(chunks=True), Prompting(weights=True)
BOTH = Prompting(chunks=True, weights=True)
LONG = ", ".join(["a lighthouse in a storm", "oil on canvas", "thick paint"] * 8)
PICTURE = Image.fromarray(np.random.default_rng(3).integers(0, 255, (64, 64, 3), np.uint8))


@pytest.fixture(scope="module", params=["tiny_sd1_bundle", "tiny_sdxl_bundle", "tiny_sd3_bundle"])
def pipe(request: pytest.FixtureRequest) -> Iterator[Img2Img]:
    with Img2Img.open(request.getfixturevalue(request.param), device="cpu") as opened:
        yield opened


def painted(pipe: Img2Img, prompt: str, **options: bool) -> bytes:
    result = pipe(
        PICTURE,
        prompt,
        negative_prompt="blurry",
        strength=0.8,
        steps=3,
        guidance_scale=5,
        seed=1,
        **options,  # type: ignore[arg-type]
    )
    return result.images[0].tobytes()


def test_chunks_are_full_and_each_has_special_tokens_of_its_own(tmp_path: Path) -> None:
    bundle = fake_bundle(tmp_path)
    tokenizer = load_tokenizer(bundle.folder / "tokenizer")
    [spec] = bundle.manifest.text.encoders

    def read(prompt: str, prompting: Prompting) -> list[list[int]]:
        return [
            chunk.ids[0].tolist() for chunk in chunked(tokenizer, prompt, spec, prompting).chunks
        ]

    assert read("", CHUNKS) == [[1, 2, 0, 0, 0, 0]]
    assert read("a a a a", CHUNKS) == [[1, 6, 6, 6, 6, 2]]
    assert read("a a a a red", CHUNKS) == [[1, 6, 6, 6, 6, 2], [1, 3, 2, 0, 0, 0]]
    # BREAK asks for a chunk of its own, whether or not long prompts are chunked
    assert read("red BREAK blue", WEIGHTS) == [[1, 3, 2, 0, 0, 0], [1, 5, 2, 0, 0, 0]]
    found = chunked(tokenizer, "a (red a:1.5) a [blue] BREAK the", spec, BOTH)
    weights = [chunk.weights.tolist() for chunk in found.chunks]
    assert weights[0] == pytest.approx([1, 1, 1.5, 1.5, 1, 1])
    assert weights[1] == pytest.approx([1, 1 / 1.1, 1, 1, 1, 1])
    assert weights[2] == [1] * 6
    assert found.cut == ""
    assert chunked(tokenizer, "a a a (a red) blue BREAK the", spec, WEIGHTS).cut == "red blue"


def test_a_shorter_prompt_is_filled_up_with_the_empty_one_and_the_first_chunk_is_pooled(
    tmp_path: Path,
) -> None:
    bundle = fake_bundle(tmp_path)
    engines = FakeEngines(bundle.manifest)
    encoders = TextEncoders(bundle.folder, Components(("text_encoder",), engines.open))
    text = bundle.manifest.text
    assert encoders.chunks(text, ["a a a a red", ""], CHUNKS) == 2
    assert encoders.chunks(text, ["a a a a red", ""], Prompting()) == 1
    long = encoders.encode(text.encoders[0], "a a a a red", Stopwatch(), CHUNKS, 2).hidden
    short = encoders.encode(text.encoders[0], "red", Stopwatch(), CHUNKS, 2).hidden
    assert long.shape == short.shape == (1, 2 * LENGTH, 3)
    assert long[0, [0, LENGTH]].tolist() == [[-1, -1, -1], [1, -1, -1]]
    assert short[0, [0, LENGTH]].tolist() == [[1, -1, -1], [-1, -1, -1]]


def test_engines_whose_context_is_fixed_refuse_two_chunks_with_the_reason(tmp_path: Path) -> None:
    pipe, engines = fake_pipeline(tmp_path)
    with pytest.raises(UsageError, match=r"12 tokens .* take 6 at most"):
        pipe(PICTURE, "a a a a red", prompt_chunks=True)
    assert engines.runs("unet") == 0
    assert pipe(PICTURE, "a red", prompt_chunks=True).images


@pytest.mark.parametrize("option", ["prompt_chunks", "prompt_weights"])
def test_a_plain_prompt_that_fits_gives_the_same_picture_to_the_bit(
    pipe: Img2Img, option: str
) -> None:
    prompt = "a lighthouse in a storm, oil on canvas"
    assert painted(pipe, prompt, **{option: True}) == painted(pipe, prompt)


def test_the_end_of_a_long_prompt_counts_once_it_is_chunked(pipe: Img2Img) -> None:
    first, other = LONG + ", at night", LONG + ", snow"
    cut = pipe(PICTURE, first, strength=0.6, steps=3, seed=1)
    assert any("at night" in warning for warning in cut.warnings)
    encoders = pipe.bundle.manifest.text.encoders
    if all(encoder.kind == "clip" for encoder in encoders):  # T5 reads on where CLIP stops
        assert painted(pipe, first) == painted(pipe, other)
    assert painted(pipe, first, prompt_chunks=True) != painted(pipe, other, prompt_chunks=True)
    whole = pipe(PICTURE, first, strength=0.6, steps=3, seed=1, prompt_chunks=True)
    assert whole.warnings == ()


def test_emphasis_changes_the_picture_and_a_weight_of_one_does_not(pipe: Img2Img) -> None:
    plain = painted(pipe, "a lighthouse in a storm")
    assert painted(pipe, "a (lighthouse:1.5) in a storm", prompt_weights=True) != plain
    assert painted(pipe, "a [lighthouse] in a storm", prompt_weights=True) != plain
    assert painted(pipe, "a (lighthouse:1.0) in a storm", prompt_weights=True) == plain
    # off, brackets are words as any other
    assert painted(pipe, "a (lighthouse:1.0) in a storm") != plain


def test_break_gives_each_side_a_chunk(pipe: Img2Img) -> None:
    together = painted(pipe, "a sea a sky", prompt_weights=True)
    assert painted(pipe, "a sea BREAK a sky", prompt_weights=True) != together


def test_a_negative_prompt_may_be_the_longer_one_and_absent(pipe: Img2Img) -> None:
    options = {"strength": 0.6, "steps": 3, "guidance_scale": 5, "seed": 1}
    for negative in (LONG, None):
        prompt = "a sea" if negative else LONG
        result = pipe(PICTURE, prompt, negative_prompt=negative, prompt_chunks=True, **options)  # type: ignore[arg-type]
        assert result.warnings == ()


def test_the_file_and_the_command_line_say_how_the_prompt_was_read(
    tmp_path: Path, tiny_sd1_bundle: Path
) -> None:
    from typer.testing import CliRunner

    from overpaint.cli.app import app

    PICTURE.save(tmp_path / "in.png")
    out = tmp_path / "out.png"
    arguments = ["run", str(tmp_path / "in.png"), LONG + " (sea:1.2)", "--output", str(out)]
    arguments += ["--bundle", str(tiny_sd1_bundle), "--steps", "2", "--strength", "0.5"]
    done = CliRunner().invoke(app, [*arguments, "--prompt-chunks", "--prompt-weights"])
    assert done.exit_code == 0, done.output
    assert "cut" not in done.output
    parameters = read_parameters(out)
    assert parameters["prompt_chunks"] is True
    assert parameters["prompt_weights"] is True
