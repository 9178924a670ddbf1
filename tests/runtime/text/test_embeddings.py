"""Textual inversions: a word stands for a file's vectors, as in diffusers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tests.parity import LIMIT, Reference, photograph

from overpaint.bundle.errors import CheckpointError, UsageError
from overpaint.bundle.format.verify import verify_bundle
from overpaint.runtime import Img2Img
from overpaint.runtime.default_bundle import EMBEDDED
from overpaint.runtime.metadata import read_parameters

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

WORD = "<toy>"
PROMPT = "a photograph of <toy> on a shelf"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def vectors(width: int, count: int = 3) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(width)) * 0.4


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_picture_is_diffusers_with_the_same_textual_inversion(
    family: str, bundles: dict[str, Path], checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    reference = Reference(checkpoints[family]).image
    named = {"clip_l": "text_encoder", "clip_g": "text_encoder_2"}
    names = named if family == "sdxl" else {"emb_params": "text_encoder"}
    tensors = {}
    for key, component in names.items():
        encoder = getattr(reference, component)
        tensors[key] = vectors(encoder.config.hidden_size)
        tokenizer = getattr(reference, component.replace("text_encoder", "tokenizer"))
        reference.load_textual_inversion(
            {WORD: tensors[key]}, token=WORD, text_encoder=encoder, tokenizer=tokenizer
        )
    file = tmp_path / "toy.safetensors"
    save_file(tensors, file)
    picture = photograph((64, 64))
    theirs = reference(
        PROMPT,
        negative_prompt="a ship",
        image=picture,
        strength=0.6,
        guidance_scale=5.0,
        num_inference_steps=5,
        generator=torch.Generator().manual_seed(3),
    ).images[0]
    asked = {"strength": 0.6, "guidance_scale": 5.0, "steps": 5, "seed": 3}
    with Img2Img.open(bundles[family], embedding={WORD: file}) as pipe:
        assert verify_bundle(pipe.bundle.folder).whole
        ours = pipe(picture, PROMPT, negative_prompt="a ship", **asked)  # type: ignore[arg-type]
        other = pipe(picture, "a ship", negative_prompt="a ship", **asked)  # type: ignore[arg-type]
    with Img2Img.open(bundles[family]) as plain:
        without = plain(picture, "a ship", negative_prompt="a ship", **asked)  # type: ignore[arg-type]
    assert np.abs(np.asarray(ours.images[0]).astype(int) - np.asarray(theirs)).max() <= LIMIT
    assert other.images[0].tobytes() == without.images[0].tobytes()


def test_the_weights_are_the_bundles_own_and_the_picture_says_the_word(tmp_path: Path) -> None:
    file = tmp_path / "toy.safetensors"
    save_file({"emb_params": vectors(128)}, file)
    with Img2Img.open(embedding={WORD: file}) as pipe:
        table = pipe.bundle.folder / "text_encoder/model.safetensors"
        rows = pipe.bundle.folder / "text_encoder/embeddings.safetensors"
        made = pipe(Image.new("RGB", (64, 64)), "winter <toy>", strength=0.5, seed=1)
        plain = pipe(Image.new("RGB", (64, 64)), "winter", strength=0.5, seed=1)
        assert table.read_bytes() == (EMBEDDED / "text_encoder/model.safetensors").read_bytes()
        assert rows.stat().st_size < 2000
    assert made.images[0].tobytes() != plain.images[0].tobytes()
    made.images[0].save(tmp_path / "out.png")
    [said] = read_parameters(tmp_path / "out.png")["embeddings"]
    assert (said["word"], said["vectors"], len(said["sha256"])) == (WORD, 3, 64)


def test_what_is_no_textual_inversion_is_told(tmp_path: Path) -> None:
    (tmp_path / "toy.pt").write_bytes(b"\x80\x02")
    save_file({"emb_params": vectors(96)}, tmp_path / "wide.safetensors")
    save_file({"a": vectors(8), "b": vectors(8)}, tmp_path / "two.safetensors")
    save_file({"emb_params": vectors(128)}, tmp_path / "toy.safetensors")
    for word, name, told in (
        (WORD, "toy.pt", "is a pickle, and reading one runs whatever code is in it"),
        (WORD, "wide.safetensors", "expected vectors of width 128 for text_encoder, got 96"),
        (WORD, "two.safetensors", "expected a textual inversion"),
        ("a toy", "toy.safetensors", "expected a word without spaces"),
    ):
        with pytest.raises((CheckpointError, UsageError), match=told):
            Img2Img.open(embedding={word: tmp_path / name})
