"""A part is repainted, and the rest of the picture stays as it was read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.conftest import Tiny
from tests.parity import photograph

from overpaint.bundle.errors import ImageError, UsageError
from overpaint.runtime import Img2Img
from overpaint.runtime.image import place, read
from overpaint.runtime.masks.cells import hard_cells, hidden, soft_cells
from overpaint.runtime.masks.fill import surroundings
from overpaint.runtime.masks.ground import feathered
from overpaint.runtime.masks.read import read_mask
from overpaint.runtime.masks.region import region
from overpaint.runtime.result import Result, Step
from overpaint.runtime.run import run

PROMPT = "a lighthouse"
EXAMPLE = Path(__file__).parents[2] / "examples" / "summer.png"
Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def pipe(tiny_sd1_bundle: Path) -> Iterator[Img2Img]:
    with Img2Img.open(tiny_sd1_bundle) as opened:
        yield opened


def rectangle(size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    """White in `box`, whose last two lie outside, and black around it."""
    mask = Image.new("L", size, 0)
    mask.paste(255, box)
    return mask


def repaint(pipe: Img2Img, picture: Any, mask: Any, **options: Any) -> Result:
    asked = {"steps": 4, "strength": 1.0, "seed": 3, "guidance_scale": 1.0, **options}
    return pipe(picture, PROMPT, mask=mask, **asked)


def pixels(image: Image.Image) -> Pixels:
    return np.asarray(image)


@pytest.mark.parametrize("size", [(64, 64), (77, 109), (131, 65)])
@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_outside_of_the_mask_every_pixel_is_the_pictures(
    pipe: Img2Img, size: tuple[int, int], resize: str
) -> None:
    picture = photograph(size)
    mask = rectangle(size, (11, 7, 50, 40))
    painted = repaint(pipe, picture, mask, resize=resize).images[0]
    assert painted.size == size
    changed = (pixels(painted) != pixels(picture)).any(axis=2)
    inside = pixels(mask) > 0
    assert not changed[~inside].any()
    assert changed[inside].mean() > 0.5


def test_what_the_run_is_asked_for_in_another_size_is_scaled_back(pipe: Img2Img) -> None:
    picture = photograph((77, 109))
    mask = rectangle(picture.size, (11, 7, 50, 40))
    painted = repaint(pipe, picture, mask, size=(128, 64)).images[0]
    assert painted.size == (77, 109)
    changed = (pixels(painted) != pixels(picture)).any(axis=2)
    assert not changed[pixels(mask) == 0].any()


def test_an_upright_srgb_flattened_picture_is_what_stays(pipe: Img2Img, tmp_path: Path) -> None:
    """A file with an orientation and transparency is kept as it is read, not as it is stored."""
    stored = photograph((64, 96)).convert("RGBA")
    stored.putalpha(Image.linear_gradient("L").resize(stored.size))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned
    stored.save(tmp_path / "turned.png", exif=exif)
    upright = Image.alpha_composite(Image.new("RGBA", stored.size, "white"), stored)
    upright = upright.convert("RGB").transpose(Image.Transpose.ROTATE_270)
    mask = rectangle((96, 64), (40, 0, 96, 64))
    painted = repaint(pipe, tmp_path / "turned.png", mask).images[0]
    painted.save(tmp_path / "painted.png")
    with Image.open(tmp_path / "painted.png") as read:
        assert (pixels(read)[:, :40] == pixels(upright)[:, :40]).all()


def test_a_feathered_edge_is_a_blend_and_beyond_the_feather_nothing_changes(pipe: Img2Img) -> None:
    picture = photograph((64, 64))
    mask = rectangle((64, 64), (0, 0, 32, 64))
    hard = pixels(repaint(pipe, picture, mask).images[0]).astype(int)
    soft = pixels(repaint(pipe, picture, mask, mask_blur=4).images[0]).astype(int)
    support = pixels(feathered(mask, 4)) > 0
    assert (soft[~support] == pixels(picture)[~support]).all()
    assert 0.02 < (~support).mean() < 0.48
    assert np.abs(np.diff(soft, axis=1))[:, 31].mean() < np.abs(np.diff(hard, axis=1))[:, 31].mean()


def test_an_empty_mask_is_the_picture_back_and_says_so(pipe: Img2Img) -> None:
    picture = photograph((77, 109))
    result = repaint(pipe, picture, Image.new("L", picture.size, 0))
    assert (pixels(result.images[0]) == pixels(picture)).all()
    assert result.steps_run == 0
    assert any("mask: it is empty" in warning for warning in result.warnings)


def test_a_white_mask_repaints_all_of_it(pipe: Img2Img) -> None:
    picture = photograph((64, 64))
    everything = repaint(pipe, picture, Image.new("L", (64, 64), 255), strength=0.6)
    plain = pipe(picture, PROMPT, steps=4, strength=0.6, seed=3, guidance_scale=1.0)
    assert (pixels(everything.images[0]) == pixels(plain.images[0])).all()


def test_inverting_a_mask_repaints_the_rest(pipe: Img2Img) -> None:
    picture = photograph((64, 64))
    left, right = (rectangle((64, 64), box) for box in ((0, 0, 32, 64), (32, 0, 64, 64)))
    one = repaint(pipe, picture, left, mask_invert=True)
    other = repaint(pipe, picture, right)
    assert (pixels(one.images[0]) == pixels(other.images[0])).all()


def test_every_picture_of_several_keeps_what_is_outside(pipe: Img2Img) -> None:
    picture, mask = photograph((64, 64)), rectangle((64, 64), (0, 0, 32, 64))
    images = repaint(pipe, picture, mask, n=3).images
    for image in images:
        assert (pixels(image)[:, 32:] == pixels(picture)[:, 32:]).all()
    assert (pixels(images[0]) != pixels(images[1])).any()
    alone = repaint(pipe, picture, mask, seed=4).images[0]
    assert (pixels(images[1]) == pixels(alone)).all()


class TestReading:
    def test_a_mask_is_a_path_a_picture_an_array_or_truth_values(
        self, pipe: Img2Img, tmp_path: Path
    ) -> None:
        picture, mask = photograph((64, 64)), rectangle((64, 64), (0, 0, 32, 64))
        mask.save(tmp_path / "mask.png")
        array = pixels(mask)
        ways = [tmp_path / "mask.png", mask, mask.convert("RGB"), array, array > 0, array / 255.0]
        painted = [repaint(pipe, picture, way) for way in ways]
        for one in painted[1:]:
            assert (pixels(one.images[0]) == pixels(painted[0].images[0])).all()
            assert one.parameters.mask_sha256 == painted[0].parameters.mask_sha256

    def test_what_is_transparent_in_a_mask_is_kept(self) -> None:
        strokes = Image.new("RGBA", (8, 8), (255, 255, 255, 0))
        strokes.paste((255, 255, 255, 255), (0, 0, 4, 8))
        assert (pixels(read_mask(strokes).image)[:, :4] == 255).all()
        assert not pixels(read_mask(strokes).image)[:, 4:].any()

    def test_a_pictures_transparency_is_a_mask(self, pipe: Img2Img) -> None:
        picture = photograph((64, 64)).convert("RGBA")
        picture.putalpha(rectangle((64, 64), (0, 0, 32, 64)))
        painted = repaint(pipe, picture, None, mask_from_alpha=True).images[0]
        assert (pixels(painted)[:, :32] == pixels(picture.convert("RGB"))[:, :32]).all()
        assert (pixels(painted)[:, 32:] != 255).any()

    def test_a_mask_of_another_size_is_fitted_and_that_is_said(self, pipe: Img2Img) -> None:
        picture, mask = photograph((64, 96)), rectangle((32, 48), (0, 0, 16, 48))
        result = repaint(pipe, picture, mask)
        assert (pixels(result.images[0])[:, 40:] == pixels(picture)[:, 40:]).all()
        assert any("got 32x48: fitted (stretch)" in warning for warning in result.warnings)

    def test_no_mask_is_an_error_that_names_it(self, pipe: Img2Img, tmp_path: Path) -> None:
        with pytest.raises(ImageError, match=r"gone\.png: no such file"):
            repaint(pipe, photograph((64, 64)), tmp_path / "gone.png")


class TestRefusals:
    def test_text_to_image_with_a_mask_says_what_is_wrong(self, pipe: Img2Img) -> None:
        with pytest.raises(UsageError, match="text to image has none"):
            pipe(None, PROMPT, mask=Image.new("L", (64, 64)), size=(64, 64))
        with pytest.raises(UsageError, match="text to image has none"):
            pipe.text_to_image(PROMPT, size=(64, 64), extend=(8, 0, 0, 0))

    def test_words_about_a_mask_that_is_not_there_are_refused(self, pipe: Img2Img) -> None:
        for words in ({"mask_blur": 4}, {"mask_mode": "soft"}, {"mask_paste": False}):
            [name] = words
            with pytest.raises(UsageError, match=f"{name}: there is no mask"):
                pipe(photograph((64, 64)), PROMPT, **words)  # type: ignore[arg-type]

    def test_two_masks_are_one_too_many(self, pipe: Img2Img) -> None:
        with pytest.raises(UsageError, match="mask_from_alpha"):
            repaint(pipe, photograph((64, 64)), Image.new("L", (64, 64)), mask_from_alpha=True)


class TestOnlyTheMaskedPart:
    def test_it_is_painted_larger_and_pasted_back(self, pipe: Img2Img) -> None:
        picture = photograph((160, 120))
        mask = rectangle(picture.size, (100, 50, 120, 80))
        result = repaint(pipe, picture, mask, mask_padding=6)
        changed = (pixels(result.images[0]) != pixels(picture)).any(axis=2)
        assert not changed[pixels(mask) == 0].any()
        assert changed[pixels(mask) > 0].mean() > 0.5
        assert result.parameters.size == (160, 120)
        whole = repaint(pipe, picture, mask)
        assert (pixels(whole.images[0]) != pixels(result.images[0])).any()

    @given(
        size=st.tuples(st.integers(1, 200), st.integers(1, 200)),
        corner=st.tuples(st.floats(0, 1), st.floats(0, 1)),
        extent=st.tuples(st.floats(0, 1), st.floats(0, 1)),
        run=st.tuples(st.integers(1, 8), st.integers(1, 8)),
        padding=st.integers(0, 60),
    )
    @settings(deadline=None)
    def test_the_part_holds_the_mask_and_lies_in_the_picture(
        self,
        size: tuple[int, int],
        corner: tuple[float, float],
        extent: tuple[float, float],
        run: tuple[int, int],
        padding: int,
    ) -> None:
        low = [int(c * (side - 1)) for c, side in zip(corner, size, strict=True)]
        high = [
            a + 1 + int(e * (side - a - 1)) for a, e, side in zip(low, extent, size, strict=True)
        ]
        mask = rectangle(size, (low[0], low[1], high[0], high[1]))
        left, top, right, bottom = region(mask, (run[0] * 8, run[1] * 8), padding)
        assert 0 <= left <= max(low[0] - padding, 0)
        assert 0 <= top <= max(low[1] - padding, 0)
        assert size[0] >= right >= min(high[0] + padding, size[0])
        assert size[1] >= bottom >= min(high[1] + padding, size[1])

    def test_it_has_the_runs_proportions_where_the_picture_is_large_enough(self) -> None:
        mask = rectangle((1000, 1000), (500, 500, 600, 520))
        left, top, right, bottom = region(mask, (512, 512), 10)
        assert (right - left, bottom - top) == (120, 120)

    def test_it_is_diffusers_region(self) -> None:
        from diffusers.image_processor import VaeImageProcessor

        for box in ((10, 20, 40, 90), (0, 0, 5, 5), (150, 10, 200, 20), (60, 60, 61, 61)):
            mask = rectangle((200, 100), box)
            theirs = VaeImageProcessor.get_crop_region(mask, 64, 64, pad=4)
            assert np.abs(np.subtract(region(mask, (64, 64), 4), theirs)).max() <= 1


class TestFills:
    def test_the_colours_around_run_into_the_mask(self) -> None:
        picture = Image.new("RGB", (64, 64), (200, 10, 10))
        picture.paste((0, 255, 0), (16, 16, 48, 48))
        filled = pixels(surroundings(picture, rectangle((64, 64), (16, 16, 48, 48))))
        assert (filled[:16] == (200, 10, 10)).all()
        assert np.abs(filled.astype(int) - (200, 10, 10)).max() <= 3

    def test_where_all_is_masked_it_is_the_mean(self) -> None:
        filled = pixels(surroundings(photograph((64, 64)), Image.new("L", (64, 64), 255)))
        assert np.abs(filled - pixels(photograph((64, 64))).mean(axis=(0, 1))).max() <= 1

    def test_each_gives_another_picture_and_keeps_the_rest(self, pipe: Img2Img) -> None:
        picture, mask = photograph((64, 64)), rectangle((64, 64), (0, 0, 32, 64))
        found = {
            fill: pixels(repaint(pipe, picture, mask, mask_fill=fill, strength=0.5).images[0])
            for fill in ("original", "blur", "noise", "nothing")
        }
        for one in found.values():
            assert (one[:, 32:] == pixels(picture)[:, 32:]).all()
        assert len({one.tobytes() for one in found.values()}) == 4


class TestCells:
    def test_any_keeps_a_thin_stroke_that_the_nearest_loses(self) -> None:
        stroke = hidden(rectangle((64, 64), (3, 0, 4, 64)), least=128)
        assert not hard_cells(stroke, 8, "nearest").any()
        assert hard_cells(stroke, 8, "any")[0, 0, :, 0].all()
        assert hard_cells(stroke, 8, "any").sum() == 8

    @pytest.mark.parametrize("cell", [8, 16])
    def test_cells_by_their_middle_are_those_of_bilinear_interpolation(self, cell: int) -> None:
        """torch's, as diffusers' FLUX.2 inpainting has it."""
        pixels = np.random.default_rng(0).random((4 * cell, 6 * cell)) < 0.5
        wanted = torch.nn.functional.interpolate(
            torch.from_numpy(pixels)[None, None].float(), size=(4, 6), mode="bilinear"
        )
        assert np.allclose(hard_cells(pixels, cell, "middle"), wanted.numpy(), atol=1e-6)

    def test_a_stroke_between_the_cells_is_said_where_it_is_lost(self, pipe: Img2Img) -> None:
        picture, stroke = photograph((64, 64)), rectangle((64, 64), (3, 0, 4, 64))
        lost = repaint(pipe, picture, stroke, mask_cells="nearest")
        assert any("mask_cells any" in warning for warning in lost.warnings)
        found = repaint(pipe, picture, stroke)
        assert (pixels(found.images[0])[:, 3] != pixels(picture)[:, 3]).any()

    def test_soft_cells_are_means(self) -> None:
        mask = rectangle((16, 8), (0, 0, 4, 8))
        assert soft_cells(mask, 8).tolist() == [[[[0.5, 0.0]]]]


class TestSoft:
    def test_what_is_black_stays_and_the_lighter_it_is_the_more_it_changes(self) -> None:
        """With the embedded model: a random one's VAE changes all there is."""
        picture = Image.open(EXAMPLE)
        mask = np.repeat(np.array([0, 85, 170, 255], np.uint8), 32)[None].repeat(128, 0)
        with Img2Img.open() as embedded:
            result = repaint(
                embedded, picture, mask, mask_mode="soft", steps=12, guidance_scale=1.5
            )
        painted = pixels(result.images[0]).astype(int)
        change = np.abs(painted - pixels(read(EXAMPLE).image)).mean(axis=(0, 2))
        shares = change.reshape(4, 32).mean(axis=1)
        assert shares[0] == 0
        assert shares[1] < shares[2] < shares[3]

    @pytest.mark.parametrize(("sampler", "strength"), [("euler", 1.0), ("ddim", 0.6)])
    def test_it_is_differential_diffusion(
        self, pipe: Img2Img, tiny_sd1: Path, sampler: str, strength: float
    ) -> None:
        """Against the rule in torch with diffusers' scheduler: before step i, what the map keeps
        beyond i/N is the picture with step i's noise."""
        picture = photograph((64, 64))
        ramp = np.linspace(0, 255, 64).astype(np.uint8)[None].repeat(64, 0)
        ours = pixels(
            repaint(
                pipe,
                picture,
                ramp,
                mask_mode="soft",
                mask_paste=False,
                sampler=sampler,
                steps=10,
                strength=strength,
            ).images[0]
        )
        theirs = differential(tiny_sd1, picture, ramp, sampler, 10, strength)
        assert np.abs(ours.astype(int) - theirs).max() <= 1

    def test_white_all_over_is_image_to_image(self, pipe: Img2Img) -> None:
        picture = photograph((64, 64))
        soft = repaint(pipe, picture, Image.new("L", (64, 64), 255), mask_mode="soft")
        plain = pipe(picture, PROMPT, steps=4, strength=1.0, seed=3, guidance_scale=1.0)
        assert (pixels(soft.images[0]) == pixels(plain.images[0])).all()


def differential(
    checkpoint: Path, picture: Image.Image, mask: Pixels, sampler: str, steps: int, strength: float
) -> npt.NDArray[np.int64]:
    """Levin & Fried 2023, with diffusers' parts."""
    import diffusers
    import torch
    from tests.parity import SCHEDULERS

    own = diffusers.StableDiffusionImg2ImgPipeline.from_pretrained(checkpoint)
    scheduler = SCHEDULERS[sampler](own.scheduler.config)
    scheduler.set_timesteps(steps)
    cut = steps - int(steps * strength)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(cut)
    timesteps = scheduler.timesteps[cut:]
    generator = torch.Generator().manual_seed(3)
    keep = 1 - torch.from_numpy(soft_cells(Image.fromarray(mask), 8))
    with torch.inference_mode():
        posterior = own.vae.encode(own.image_processor.preprocess(picture)).latent_dist
        z = posterior.sample(generator) * own.vae.config.scaling_factor
        noise = torch.randn(z.shape, generator=generator)
        context, _ = own.encode_prompt(PROMPT, "cpu", 1, False)
        x = scheduler.add_noise(z, noise, timesteps[:1])
        for i, t in enumerate(timesteps):
            if i:
                held = scheduler.add_noise(z, noise, t[None])
                x = torch.where(keep > i / steps, held, x)
            m = own.unet(scheduler.scale_model_input(x, t), t, context).sample
            x = scheduler.step(m, t, x).prev_sample
        image = own.vae.decode(x / own.vae.config.scaling_factor).sample
    [done] = own.image_processor.postprocess(image)
    return np.asarray(done).astype(int)


class TestExtending:
    def test_the_canvas_grows_and_what_was_there_stays(self, pipe: Img2Img) -> None:
        picture = photograph((64, 48))
        result = repaint(pipe, picture, None, extend=(32, 16, 0, 8))
        painted = result.images[0]
        assert painted.size == (96, 72)
        assert (pixels(painted)[16:64, 32:] == pixels(picture)).all()
        assert result.parameters.image_sha256 is not None

    def test_a_canvas_that_no_picture_may_have_is_refused_before_it_is_made(
        self, pipe: Img2Img
    ) -> None:
        with pytest.raises(UsageError, match="got 10000064x64; extend by less"):
            repaint(pipe, photograph((64, 64)), None, extend=(10**7, 0, 0, 0))
        with pytest.raises(UsageError, match="extend: expected"):
            repaint(pipe, photograph((64, 64)), None, extend=(-8, 0, 0, 0))

    def test_a_mask_goes_with_it(self, pipe: Img2Img) -> None:
        picture, mask = photograph((64, 64)), rectangle((64, 64), (0, 0, 64, 16))
        painted = pixels(repaint(pipe, picture, mask, extend=(0, 0, 32, 0)).images[0])
        assert (painted[16:, :64] == pixels(picture)[16:]).all()
        assert (painted[:16, :64] != pixels(picture)[:16]).any()


class TestPreviews:
    def test_a_preview_shows_the_picture_outside_of_the_mask(self, pipe: Img2Img) -> None:
        """The kept half of every preview is the finished run's own: its latents do not move."""
        from overpaint.runtime.request import Request
        from overpaint.runtime.settings import Settings

        asked = Settings(steps=6, strength=1.0, seed=3, guidance_scale=1.0)
        mask = rectangle((64, 64), (0, 0, 32, 64))
        request = Request(photograph((64, 64)), PROMPT, asked, mask=mask)
        previews = [
            pixels(event.preview())
            for event in run(pipe.engines, request)
            if isinstance(event, Step)
        ]
        for one in previews:
            assert (one[:, 4:] == previews[-1][:, 4:]).all()
        assert (previews[0][:, :4] != previews[-1][:, :4]).any()


def test_a_refiner_goes_on_keeping_what_the_base_kept(pipe: Img2Img, tiny_sd1_bundle: Path) -> None:
    """With nothing masked both put all of it back: what they end in is the picture's latents."""
    picture, nothing = photograph((64, 64)), Image.new("L", (64, 64), 0)
    options: dict[str, Any] = {"steps": 10, "strength": 0.8, "seed": 3, "sampler": "euler"}
    with Img2Img.open(tiny_sd1_bundle) as refiner:
        kept = pipe(
            picture, PROMPT, mask=nothing, mask_paste=False, refiner=refiner, hand_over=0.6,
            **options,
        )  # fmt: skip
    trip = pipe(picture, PROMPT, strength=0.0, seed=3)
    assert kept.steps_run == 8
    assert (pixels(kept.images[0]) == pixels(trip.images[0])).all()


def test_without_a_mask_an_inpainting_checkpoint_says_that_all_is_repainted(
    inpainting: Callable[[str], Tiny],
) -> None:
    picture = photograph((64, 64))
    with Img2Img.open(inpainting("sd1").bundle) as pipe:
        whole = pipe(picture, PROMPT, steps=2, seed=3)
        part = pipe(picture, PROMPT, mask=rectangle((64, 64), (0, 0, 32, 64)), steps=2, seed=3)
    assert any("inpainting checkpoint repaints what it is not shown" in w for w in whole.warnings)
    assert part.warnings == ()


def test_placements_and_masks_agree_at_every_size() -> None:
    """A mask that came with the picture lies over it on the canvas as well."""
    mask = rectangle((100, 60), (20, 10, 60, 30))
    for mode in ("stretch", "crop", "pad"):
        placement = place(mask.size, (64, 64), mode)
        left, top, right, bottom = placement.box
        back = placement.back(placement.canvas(mask))
        apart = np.abs(pixels(back).astype(int) - pixels(mask.crop((left, top, right, bottom))))
        assert apart.mean() < 12
