"""What a caller may ask for: every option of a run, declared once.

To add an option, declare it in `Settings`, give its type to `Options`, and use it. The keywords of
`Img2Img`, the command line's flags, the native API's fields, the picture's parameters and
docs/options.md follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypedDict

from overpaint.bundle.errors import UsageError

from .choices import (
    COLOURS,
    MASK_CELLS,
    MASK_FILLS,
    MASK_MODES,
    RESIZE_MODES,
    RNGS,
    SIGMAS,
    STEPS_MODES,
    VAES,
)
from .fidelity import EXACT, LEVELS
from .option import Declared, declared, option

MAX_SEED: Final = 2**64 - 1
COPY_STRENGTH: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Combination:
    """Values that a mode or a preset brings; None leaves the choice to the next in line."""

    strength: float | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    steps_mode: str | None = None


MODES: Final[dict[str, Combination]] = {
    "modify": Combination(strength=0.5, steps=25, guidance_scale=7.5),
    # Exact steps: 15 steps at strength 0.05 would round to no step at all the usual way.
    "copy": Combination(strength=COPY_STRENGTH, steps=15, guidance_scale=1.0, steps_mode="exact"),
}
PRESETS: Final[dict[str, Combination]] = {
    "fast": Combination(steps=15, guidance_scale=7.0),
    "high": Combination(steps=25, guidance_scale=7.5),
}


def _samplers() -> tuple[str, ...]:
    from .schedule import SAMPLERS

    return tuple(SAMPLERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the caller asked for; None is "not said". Raises UsageError on a value out of range.

    steps_mode: "diffusers" runs int(steps * strength) steps, "exact" runs `steps` of them, "lcm"
        (the samplers lcm and tcd) runs `steps` in the range that strength narrows.
    guidance_scale: how strictly the prompt is followed, by the checkpoint's own kind of guidance:
        told to the denoiser where it was distilled for that (FLUX.1 dev, latent consistency
        models), else by asking it twice, with and without the prompt.
    true_cfg_scale: the latter besides the former; refused where there is no difference.
    guidance_rescale: how far the guided prediction's deviation is pulled back to that of the
        prompt's own, against washed-out pictures of v-prediction at zero terminal SNR.
    cfg_zero_star: guidance leads away from as much of the negative prediction only as the
        positive one holds; a flow model's first step from pure noise is left out.
    negative_prompt: None is an absent one, which is not the empty "".
    denoising_start, denoising_end: the part of the way from noise to picture that is run. With a
        start the picture counts as that far on its way: it gets no noise, and strength has no say.
        With an end the noise that is left is decoded too.
    seed: image i of `n` uses seed + i.
    variation_strength: how far the noise is turned towards that of variation_seed. Picture i of `n`
        uses seed, and variation_seed + i.
    tile: WIDTHxHEIGHT of what is computed at a time, or "auto": what the checkpoint was trained on,
        where the picture has more than two of it. The picture keeps its size.
    resize: stretch, crop and pad are of pixels, with Lanczos. With "latents" the picture is encoded
        in its own size, and its latents are stretched bilinearly: AUTOMATIC1111's "latent upscale",
        which wants a strength of a half or more.
    upscale: a picture is enlarged as `resize` says and repainted, at strength 0.3 and in tiles
        ("auto") where nothing else is said. Text to image is painted at `size` first, then enlarged
        and repainted with upscale_strength and upscale_steps: two passes.
    match_colour: the input's colours in L*a*b*, by mean and deviation, or by histogram without the
        brightness, as AUTOMATIC1111's colour correction has it.
    clip_skip: as diffusers counts, 1 is the layer before; AUTOMATIC1111's web UI calls that 2, and
        skips for the negative prompt too, as clip_skip_negative does.
    prompt_weights: as AUTOMATIC1111's web UI reads them.

    fidelity: "exact" computes everything. "balanced" and "draft" bring some of the following, each
        of which is an option of its own:

    forecast: so many of the denoiser's outputs are foretold after each that is computed, bar the
        first three and the last two; refused where the sampler draws noise.
    guidance_start, guidance_end: guidance acts in this part of a denoiser's own steps, and outside
        of it the negative prompt is not computed.
    adaptive_guidance: nor is it any more once it says the same as the prompt: once the cosine
        between the two predictions is so large.
    vae: "tiny" is the tiny autoencoder that the pipeline was opened with, for the picture that is
        read and for the one that is made; no level brings it.

    guess_mode: control networks act on the prompt's half of guidance alone; refused without one.

    What goes with a mask (white is repainted) is refused without one:

    mask_from_alpha: the picture's own transparency is the mask.
    extend: the canvas grows by so much on each side, and what is new is repainted.
    mask_mode: "hard" repaints from one half on; "soft" takes a mask for how much each place may
        change (differential diffusion).
    mask_blur: deviation of a Gaussian, in the picture's pixels.
    mask_padding: the part around the mask, so many pixels wider on each side, is repainted alone
        at the run's size, and scaled back.
    mask_fill: what the run starts from under the mask: the picture, the colours around it, noise,
        or nothing.
    mask_cells: which latent cells a hard mask repaints: "any" that it touches; the "nearest", as
        diffusers does; the "middle" by its four middle pixels, as diffusers does for FLUX.2. None
        is "any" where the result is pasted, and diffusers' where it is not.
    mask_paste: the repainted part is put into the picture as it was read, so that outside of the
        mask every pixel stays; without it the result is the run's, at the run's size.

    ip_adapter_scale: how much the reference pictures count beside the prompt. One number: they are
        seen together; several, one for each: each is seen by itself, as with masks.
    """

    strength: float | None = option(
        None, "0 keeps the picture, 1 repaints all of it", low=0, high=1
    )
    reference_strength: float | None = option(
        None, "The other way round: strength is 1 minus this", low=0, high=1
    )
    mode: str | None = option(
        None,
        f"modify repaints; copy stays within strength {COPY_STRENGTH} of the picture",
        choices=lambda: tuple(MODES),
    )
    preset: str | None = option(
        None, "15 or 25 steps, and their guidance", choices=lambda: tuple(PRESETS)
    )
    steps: int | None = option(None, "Denoising steps of the schedule", low=1)
    steps_mode: str | None = option(
        None,
        "Run steps x strength of them, or exactly as many as asked",
        choices=lambda: STEPS_MODES,
    )
    guidance_scale: float | None = option(
        None, "How strictly the prompt is followed; 1 is off", low=0
    )
    true_cfg_scale: float | None = option(
        None,
        "Guidance by a negative prompt, where the model is told guidance_scale; 1 is off",
        low=0,
    )
    guidance_rescale: float = option(0.0, "Against colours that guidance washes out", low=0, high=1)
    cfg_zero_star: bool = option(False, "CFG-Zero*: guidance that scales what it leads away from")
    fidelity: str = option(
        EXACT, "Less to compute, and further from exact", choices=lambda: tuple(LEVELS)
    )
    forecast: int | None = option(
        None, "Outputs foretold after each that is computed; 0 is none", low=0, high=8
    )
    guidance_start: float | None = option(
        None, "The part of the steps after which guidance begins", low=0, high=1
    )
    guidance_end: float | None = option(
        None, "The part of the steps after which guidance ends", low=0, high=1
    )
    adaptive_guidance: float | None = option(
        None, "Guide until both predictions are so alike; 0.99 or so", low=0, high=1
    )
    vae: str = option(
        "own", "tiny: the tiny autoencoder that was opened beside it", choices=lambda: VAES
    )
    negative_prompt: str | None = option(None, "What the picture should not show")
    sampler: str | None = option(
        None,
        "euler, euler-a, ddim, pndm, dpmpp-2m …; absent, the checkpoint's own",
        choices=_samplers,
        metavar="NAME",
    )
    sigmas: str | None = option(None, "How noise levels are spaced", choices=lambda: SIGMAS)
    eta: float = option(0.0, "Fresh noise in each step of ddim, gamma of tcd", low=0, high=1)
    denoising_start: float | None = option(
        None, "Begin at this part of the way, and add no noise", low=0, high=1, between=True
    )
    denoising_end: float | None = option(
        None,
        "Stop at this part of the way from noise to picture",
        low=0,
        high=1,
        between=True,
    )
    seed: int | None = option(None, "Absent, a random one, which is told", low=0, high=MAX_SEED)
    seeds: tuple[int, ...] | None = option(
        None,
        "A picture for each of these, instead of seed and n",
        low=0,
        high=MAX_SEED,
        metavar="SEED,SEED...",
    )
    variation_seed: int | None = option(
        None, "Whose noise varies the seed's; absent, the next one", low=0, high=MAX_SEED
    )
    variation_strength: float = option(
        0.0, "How much of the variation seed's noise; n pictures are n variations", low=0, high=1
    )
    rng: str | None = option(None, "Whose random numbers", choices=lambda: RNGS)
    n: int = option(1, "Pictures from each; picture i has seed + i", low=1, short="-n")
    size: tuple[int, int] | None = option(
        None,
        "Absent, the picture's own, floored to what the model takes",
        metavar="WIDTHxHEIGHT",
    )
    tile: str | None = option(
        None,
        "Repaint a picture of any size in overlapping tiles",
        metavar="auto|WIDTHxHEIGHT",
    )
    upscale: float | None = option(
        None, "Enlarge so many times, and repaint a little, in tiles", low=1, high=8
    )
    upscale_strength: float | None = option(
        None, "Of text to image's second pass; absent, 0.4", low=0, high=1
    )
    upscale_steps: int | None = option(
        None, "Steps that the second pass runs; absent, as many as the first", low=1
    )
    resize: str = option("stretch", "How a picture meets the size", choices=lambda: RESIZE_MODES)
    match_colour: str | None = option(
        None, "Give the result the input's colours", choices=lambda: COLOURS
    )
    max_sequence_length: int | None = option(
        None,
        "How many tokens T5 or Qwen3 reads; absent, 256 (FLUX.1 dev, Z-Image: 512)",
        low=1,
        high=512,
    )
    clip_skip: int = option(
        0, "Take CLIP's context so many layers before its usual one", low=0, high=30
    )
    clip_skip_negative: bool = option(False, "Likewise for the negative prompt")
    prompt_chunks: bool = option(False, "Chunk a long prompt instead of cutting it")
    prompt_weights: bool = option(False, "Read (word:1.2), [word] and BREAK")
    guess_mode: bool = option(False, "Let control networks lead, even without a prompt")
    mask_from_alpha: bool = option(False, "Repaint where the picture is transparent")
    extend: tuple[int, int, int, int] | None = option(
        None,
        "Pixels by which the canvas grows; what is new is repainted",
        metavar="LEFT,TOP,RIGHT,BOTTOM",
    )
    mask_invert: bool = option(False, "Repaint what is black in the mask")
    mask_mode: str = option(
        "hard", "soft: greys say how much each place may change", choices=lambda: MASK_MODES
    )
    mask_blur: float = option(0.0, "Feathers the mask by so many pixels", low=0, high=256)
    mask_padding: int | None = option(
        None, "Repaint the mask's surroundings alone, so many pixels wide", low=0, high=8192
    )
    mask_fill: str = option(
        "original", "What is under the mask at the start", choices=lambda: MASK_FILLS
    )
    mask_cells: str | None = option(
        None,
        "Cells that a mask repaints; absent, any, and without paste as diffusers has it",
        choices=lambda: MASK_CELLS,
    )
    mask_paste: bool = option(True, "Keep every pixel outside of the mask as it was read")
    ip_adapter_scale: float | tuple[float, ...] | None = option(
        None,
        "How much is seen of the reference pictures, or of each; absent, 1",
        low=0,
        high=5,
        metavar="NUMBER[,NUMBER...]",
    )

    def __post_init__(self) -> None:
        from .schedule.strength import check_window  # NumPy, which declaring options needs not
        from .tiles.tile import check_tile

        for name, one in options(type(self)).items():
            one.check(getattr(self, name))
        if self.strength is not None and self.reference_strength is not None:
            raise UsageError(
                "strength and reference_strength say the same thing (strength = 1 - "
                "reference_strength); give one of them"
            )
        for name in ("strength", "reference_strength", "mode"):
            if self.denoising_start is not None and getattr(self, name) is not None:
                raise UsageError(f"{name}: denoising_start says where to begin; give one of them")
        check_window(self.denoising_start, self.denoising_end)
        check_tile(self.tile)
        apart = self.seed is None and not self.variation_strength and self.n in (1, self.pictures)
        if self.seeds is not None and not apart:
            raise UsageError("seeds: they say which and how many; leave seed, n and variations out")
        for name in ("upscale_strength", "upscale_steps"):
            if getattr(self, name) is not None and self.upscale is None:
                raise UsageError(
                    f"{name}: it is about upscale; say how many times, or leave it out"
                )
        if self.variation_seed is not None and not self.variation_strength:
            raise UsageError("variation_seed: say how much of it, with variation_strength above 0")
        if self.mode == "copy" and self.strength is not None and self.strength > COPY_STRENGTH:
            raise UsageError(
                f"strength: copy mode keeps it at or below {COPY_STRENGTH}, got {self.strength}; "
                "leave the mode out to repaint more"
            )

    @property
    def pictures(self) -> int:
        """How many are made of each picture: as many as there are seeds, or else n."""
        return self.n if self.seeds is None else len(self.seeds)


class Options(TypedDict, total=False):
    """The types of Settings' options, for whoever type-checks a call with keywords (PEP 692)."""

    strength: float | None
    reference_strength: float | None
    mode: str | None
    preset: str | None
    steps: int | None
    steps_mode: str | None
    guidance_scale: float | None
    true_cfg_scale: float | None
    guidance_rescale: float
    cfg_zero_star: bool
    fidelity: str
    forecast: int | None
    guidance_start: float | None
    guidance_end: float | None
    adaptive_guidance: float | None
    vae: str
    negative_prompt: str | None
    sampler: str | None
    sigmas: str | None
    eta: float
    denoising_start: float | None
    denoising_end: float | None
    seed: int | None
    seeds: tuple[int, ...] | None
    variation_seed: int | None
    variation_strength: float
    rng: str | None
    n: int
    size: tuple[int, int] | None
    tile: str | None
    upscale: float | None
    upscale_strength: float | None
    upscale_steps: int | None
    resize: str
    match_colour: str | None
    max_sequence_length: int | None
    clip_skip: int
    clip_skip_negative: bool
    prompt_chunks: bool
    prompt_weights: bool
    guess_mode: bool
    mask_from_alpha: bool
    extend: tuple[int, int, int, int] | None
    mask_invert: bool
    mask_mode: str
    mask_blur: float
    mask_padding: int | None
    mask_fill: str
    mask_cells: str | None
    mask_paste: bool
    ip_adapter_scale: float | tuple[float, ...] | None


def options(settings: type[Settings] = Settings) -> Mapping[str, Declared]:
    """Every option that a class of settings declares, by name, in its order."""
    return declared(settings)  # type: ignore[arg-type]  # a class has a hash of its own
