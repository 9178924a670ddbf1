"""A textual inversion's word in a prompt, over each API: one picture, that of Python."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webuiapi
from PIL import Image
from tests.serve.running import Running, data_url, png, serving

from overpaint.bundle.checkpoint.safetensors import of_array, write_safetensors
from overpaint.bundle.errors import CheckpointError, UsageError
from overpaint.runtime import Img2Img
from overpaint.serve.command import opening_of, serve
from overpaint.serve.config import Config
from overpaint.serve.jobs.engines.bundles import Opening, served_bundle

WORD, PROMPT, SIZE = "<toy>", "winter <toy> mountains", (64, 64)
SETTINGS: dict[str, Any] = {"steps": 2, "strength": 0.9, "guidance_scale": 3.0, "seed": 7}


def inversion(path: Path, width: int = 128) -> Path:
    vectors = np.random.default_rng(1).normal(0, 0.4, (3, width)).astype(np.float32)
    write_safetensors(path, {"emb_params": of_array(vectors)})
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """One for the embedded model, and one for another."""
    folder = tmp_path_factory.mktemp("embeddings")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield {
            WORD: inversion(folder / "toy.safetensors"),
            "<wide>": inversion(folder / "wide.safetensors", 768),
        }


@pytest.fixture(scope="module")
def server(files: dict[str, Path]) -> Iterator[Running]:
    served = served_bundle(None, Opening(device="cpu", embeddings=files))
    with serving(Config(port=0), [served]) as running:
        yield running


@pytest.fixture(scope="module")
def expected(files: dict[str, Path]) -> np.ndarray[Any, Any]:
    with Img2Img.open(device="cpu", embedding={WORD: files[WORD]}) as pipe:
        image = Image.open(io.BytesIO(png(*SIZE)))
        return np.asarray(pipe(image, PROMPT, sampler="ddim", **SETTINGS).images[0])


def test_a_model_names_the_words_that_are_for_it(server: Running) -> None:
    [model] = server.client.get("/v1/capabilities").json()["models"]
    assert model["embeddings"] == {WORD: 3}
    client = webuiapi.WebUIApi(host="127.0.0.1", port=server.port)
    assert client.get_embeddings()["loaded"][WORD]["vectors"] == 3
    assert list(client.get_embeddings()["loaded"]) == [WORD]


def test_the_word_means_in_each_api_what_it_means_in_python(
    server: Running, expected: np.ndarray[Any, Any]
) -> None:
    job = server.submit(
        image=data_url(png(*SIZE)), prompt=PROMPT, styles={}, sampler="ddim", **SETTINGS
    )
    ended = server.ended(job["id"], seconds=120)
    assert np.array_equal(server.pixels(ended["result"]["media"][0]), expected)
    assert [one["word"] for one in ended["result"]["settings"]["embeddings"]] == [WORD]
    client = webuiapi.WebUIApi(host="127.0.0.1", port=server.port)
    result = client.img2img(
        images=[Image.open(io.BytesIO(png(*SIZE)))],
        prompt=PROMPT,
        negative_prompt="",
        steps=2,
        denoising_strength=0.9,
        cfg_scale=3.0,
        seed=7,
        sampler_name="DDIM",
        width=SIZE[0],
        height=SIZE[1],
    )
    assert np.array_equal(np.asarray(result.image.convert("RGB")), expected)


def test_what_is_for_no_bundle_keeps_the_server_from_starting(
    files: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"--embedding <wide>=.*for none of the bundles"):
        serve(opening=opening_of(device="cpu", embedding={"<wide>": files["<wide>"]}))
    (tmp_path / "toy.pt").write_bytes(b"\x80\x02")
    with pytest.raises(CheckpointError, match="is a pickle"):
        serve(opening=opening_of(device="cpu", embedding={WORD: tmp_path / "toy.pt"}))
