"""A picture in tiles: the VAE's is that of the whole, and no border of a tile is to be seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from tests.conftest import Tiny

from overpaint.bundle.errors import UsageError
from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.tiling.extend import in_parts, parts_of
from overpaint.runtime import Img2Img
from overpaint.runtime.control.control import Control
from overpaint.runtime.default_bundle import EMBEDDED
from overpaint.runtime.metadata import read_parameters
from overpaint.runtime.settings import Settings
from overpaint.runtime.tiles import vae
from overpaint.runtime.tiles.windows import cover

SUMMER = Path(__file__).parents[3] / "examples/summer.png"
PROMPT = "winter mountains at night"
Pixels = npt.NDArray[np.int64]


def photograph(width: int, height: int) -> Image.Image:
    return Image.open(SUMMER).convert("RGB").resize((width, height), Image.Resampling.LANCZOS)


def pixels(image: Image.Image) -> Pixels:
    return np.asarray(image).astype(np.int64)


@pytest.fixture(scope="module")
def pipe() -> Iterator[Img2Img]:
    with Img2Img.open() as opened:
        yield opened


def test_the_vae_in_tiles_is_the_whole_one_to_two_levels(pipe: Img2Img) -> None:
    """Group norms have the whole picture's statistics: with a tile's own, the difference is above
    100 levels here. 640 pixels are three windows wide."""
    picture = photograph(640, 304)
    whole = pipe(picture, "", strength=0, seed=1)
    tiles = pipe(picture, "", strength=0, seed=1, tile="128x128")
    assert np.abs(pixels(whole.images[0]) - pixels(tiles.images[0])).max() <= 1


@pytest.mark.parametrize("family", ["sd1", "sdxl", "sd3"])
def test_so_is_a_vae_that_attends_to_all_of_the_picture(
    family: str, bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attention within a window differs from it by more than 200 levels on these checkpoints."""
    monkeypatch.setattr(vae, "TILE", 24)
    with Img2Img.open(bundles[family]) as opened:
        picture = photograph(256, 128)
        whole = opened(picture, "", strength=0, seed=1)
        tiles = opened(picture, "", strength=0, seed=1, tile="64x64")
    assert np.abs(pixels(whole.images[0]) - pixels(tiles.images[0])).max() <= 1


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl", "sd3"])
def test_every_family_repaints_in_tiles(family: str, bundles: dict[str, Path]) -> None:
    """A tile as large as the picture is the picture; smaller ones are another one of its size."""
    with Img2Img.open(bundles[family]) as opened:
        picture = photograph(96, 64)
        whole = opened(picture, PROMPT, strength=0.5, steps=4, seed=1)
        same = opened(picture, PROMPT, strength=0.5, steps=4, seed=1, tile="96x64")
        tiles = opened(picture, PROMPT, strength=0.5, steps=4, seed=1, tile="48x32")
    assert same.images[0].tobytes() == whole.images[0].tobytes()
    assert tiles.images[0].size == (96, 64)
    assert tiles.images[0].tobytes() != whole.images[0].tobytes()


def test_an_inpainting_checkpoint_and_a_mask_go_with_tiles(
    inpainting: Callable[[str], Tiny], pipe: Img2Img
) -> None:
    picture, mask = photograph(128, 64), Image.new("L", (128, 64))
    mask.paste(255, (40, 16, 88, 48))
    with Img2Img.open(inpainting("sd1").bundle) as sees_mask:
        for opened in (pipe, sees_mask):
            made = opened(picture, PROMPT, strength=0.8, steps=3, seed=1, mask=mask, tile="64x64")
            changed = np.abs(pixels(made.images[0]) - pixels(picture)).max(axis=2)
            assert changed[16:48, 40:88].mean() > 1
            assert changed[:, :32].max() == 0


def test_a_control_network_sees_the_part_that_a_tile_is() -> None:
    picture = Image.new("RGB", (256, 128))
    for left in (0, 128):
        picture.paste(photograph(128, 128), (left, 0))

    def outlines(image: Image.Image) -> float:
        """How the steps of brightness of a picture lie where those of the one repainted do."""
        ours, theirs = (np.abs(np.diff(pixels(one).mean(axis=2))) for one in (image, picture))
        return float(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1])

    with Img2Img.open(control=["edges"]) as opened:
        led, free = (
            opened(picture, PROMPT, strength=0.8, seed=1, tile="128x128", control=shown).images[0]
            for shown in ({"edges": Control(preprocessor="canny")}, None)
        )
    assert outlines(led) > 2 * outlines(free)


def test_no_border_of_a_tile_is_to_be_seen(pipe: Img2Img) -> None:
    """The steps of brightness across the columns where tiles begin and end are as large as those
    elsewhere: within a fifth on the mean. Tiles that are merely set beside each other are tested
    to be told."""
    picture = photograph(640, 256)
    made = pixels(pipe(picture, PROMPT, strength=0.4, seed=3, tile="128x128").images[0])
    windows = cover((64, 160), (32, 32), 8)
    borders = sorted({one.left * 4 for one in windows} - {0})
    borders += sorted({(one.left + one.width) * 4 for one in windows} - {640})
    assert seen_at(made, borders) < 1.2

    apart = np.concatenate(
        [
            pixels(pipe(picture.crop((x, 0, x + 128, 256)), PROMPT, strength=0.4, seed=3).images[0])
            for x in range(0, 640, 128)
        ],
        axis=1,
    )
    assert seen_at(apart, [128, 256, 384, 512]) > 1.5


def seen_at(image: Pixels, columns: list[int]) -> float:
    """How much larger the steps across these columns are than those across all."""
    steps = np.abs(np.diff(image.mean(axis=2), axis=1)).mean(axis=0)
    return float(np.mean([steps[column - 1] for column in columns]) / steps.mean())


def test_auto_keeps_the_size_and_takes_the_tiles_that_the_checkpoint_knows(
    pipe: Img2Img, tmp_path: Path
) -> None:
    result = pipe(photograph(404, 202), PROMPT, strength=0.2, seed=1, tile="auto")
    assert result.images[0].size == (404, 200)
    result.images[0].save(tmp_path / "out.png")
    assert read_parameters(tmp_path / "out.png")["tile"] == "auto"


def test_the_parts_of_a_vae_are_read_from_the_checkpoints_own_weights(tmp_path: Path) -> None:
    folder = in_parts(open_bundle(EMBEDDED))
    bundle = open_bundle(folder)
    parts = [
        one for half in ("vae_encoder", "vae_decoder") for one in parts_of(bundle.manifest, half)
    ]
    graphs = [bundle.path(bundle.manifest.components[one].graph) for one in parts]
    assert len(graphs) == 12 + 18  # the norms, and what comes before the first
    assert sum(graph.stat().st_size for graph in graphs) < 200_000


@pytest.mark.parametrize("tile", ["large", "512", "512x", "0x0x0"])
def test_a_tile_is_auto_or_a_size(tile: str) -> None:
    with pytest.raises(UsageError, match="tile: expected auto, or WIDTHxHEIGHT"):
        Settings(tile=tile)


def test_a_tile_that_the_engine_does_not_take_is_told(pipe: Img2Img) -> None:
    with pytest.raises(UsageError, match="tile: expected a size whose sides are multiples of 4"):
        pipe(photograph(256, 256), PROMPT, tile="126x126")
