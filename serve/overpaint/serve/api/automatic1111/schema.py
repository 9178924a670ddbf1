"""AUTOMATIC1111's request bodies, its names for samplers, and what of it is refused.

Fields that have no meaning here are accepted and ignored, as that server ignores what it does not
know; a script or an extension that a client counts on is refused, but for ControlNet's. Its
`mask_round`, `initial_noise_multiplier` and weight of the inpainting conditioning are among the
ignored.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from overpaint.runtime.choices import LATENTS, SIGMAS
from overpaint.runtime.metadata import A1111_LATENT, A1111_SAMPLERS
from overpaint.runtime.resolved import random_seed
from overpaint.runtime.schedule import SAMPLERS
from overpaint.runtime.settings import MAX_SEED, Settings
from overpaint.serve.api.native.schema import LIMITS, Prompt
from overpaint.serve.http.problems import ApiError

from .controlnet import guesses, units_of

SAMPLER_NAMES = {name: A1111_SAMPLERS.get(name, name) for name in SAMPLERS if name != "default"}
SCHEDULERS = {"automatic": "Automatic"} | {
    name: name.capitalize() for name in SIGMAS if name != "default"
}
RESIZE = ("stretch", "crop", "pad", LATENTS)
FILLS = ("blur", "original", "noise", "nothing")
RANDOM_SEED = -1
LAST_LAYERS = 12


Blur = Annotated[float, Field(ge=0, le=256, allow_inf_nan=False)]


class Generation(BaseModel):
    """What txt2img and img2img share."""

    model_config = ConfigDict(extra="ignore")

    prompt: Prompt = ""
    negative_prompt: Prompt = ""
    seed: Annotated[int, Field(ge=-1, le=MAX_SEED)] = RANDOM_SEED
    subseed: Annotated[int, Field(ge=-1, le=MAX_SEED)] = RANDOM_SEED
    subseed_strength: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    steps: Annotated[int, Field(ge=1, le=LIMITS.steps)] = 50
    cfg_scale: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] = 7.0
    width: Annotated[int, Field(ge=1, le=16_384)] = 512
    height: Annotated[int, Field(ge=1, le=16_384)] = 512
    batch_size: Annotated[int, Field(ge=1, le=LIMITS.n)] = 1
    n_iter: Annotated[int, Field(ge=1, le=LIMITS.n)] = 1
    sampler_name: str | None = None
    sampler_index: str | None = None
    scheduler: str | None = None
    send_images: bool = True
    override_settings: dict[str, Any] | None = None
    force_task_id: str | None = None
    script_name: str | None = None
    alwayson_scripts: dict[str, Any] | None = None

    def settings(self) -> Settings:
        """Raises ApiError 404 for samplers and schedulers, UsageError for contradictions."""
        sampler, sigmas = sampler_and_sigmas(
            self.sampler_name or self.sampler_index, self.scheduler
        )
        return Settings(
            negative_prompt=self.negative_prompt,
            seed=None if self.seed == RANDOM_SEED else self.seed,
            variation_seed=self._variation_seed(),
            variation_strength=self.subseed_strength,
            steps=self.steps,
            guidance_scale=self.cfg_scale,
            size=(self.width, self.height),
            n=self.batch_size * self.n_iter,
            sampler=sampler,
            sigmas=sigmas,
            prompt_weights=True,  # as there: (word:1.2), [word] and BREAK are always read
            guess_mode=guesses(units_of(self.alwayson_scripts)),
            clip_skip=self._clip_skip(),
            clip_skip_negative=True,  # as there
        )

    def _variation_seed(self) -> int | None:
        if not self.subseed_strength:
            return None
        return random_seed() if self.subseed == RANDOM_SEED else self.subseed

    def _clip_skip(self) -> int:
        """Layers that are skipped; that server counts the one that it stops at, from the last."""
        stop = (self.override_settings or {}).get("CLIP_stop_at_last_layers", 1)
        if type(stop) is not int or not 1 <= stop <= LAST_LAYERS:
            message = f"CLIP_stop_at_last_layers: expected 1 to {LAST_LAYERS}, got {stop!r}"
            raise ApiError(422, "invalid_request", message, field="override_settings")
        return stop - 1

    def refuse_scripts(self) -> None:
        """Raises ApiError 422: a script changes the picture, so leaving it out is no option."""
        if self.script_name:
            message = f"script_name: there is no script {self.script_name!r} here; leave it out"
            raise ApiError(422, "unsupported", message, field="script_name")
        units_of(self.alwayson_scripts)

    @property
    def checkpoint(self) -> str | None:
        """The model that override_settings names for this request."""
        named = (self.override_settings or {}).get("sd_model_checkpoint")
        return named if isinstance(named, str) else None


class TextToImage(Generation):
    enable_hr: bool = False
    hr_scale: Annotated[float, Field(ge=1, le=4, allow_inf_nan=False)] = 2.0
    hr_second_pass_steps: Annotated[int, Field(ge=0, le=LIMITS.steps)] = 0
    hr_upscaler: str = ""
    hr_resize_x: int = 0
    hr_resize_y: int = 0
    denoising_strength: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.75

    def settings(self) -> Settings:
        """As the one that it extends; with the fix, in two passes."""
        settings = super().settings()
        if not self.enable_hr:
            return settings
        return replace(
            settings,
            upscale=self.hr_scale,
            upscale_strength=self.denoising_strength,
            upscale_steps=self.hr_second_pass_steps or None,
            resize=LATENTS if self.hr_upscaler == A1111_LATENT else settings.resize,
        )

    def refuse_scripts(self) -> None:
        super().refuse_scripts()
        if self.enable_hr and (self.hr_resize_x or self.hr_resize_y):
            message = "hr_resize_x, hr_resize_y: say how many times larger, with hr_scale"
            raise ApiError(422, "unsupported", message, field="hr_resize_x")


class ImageToImage(Generation):
    init_images: list[str] = Field(default_factory=list)
    denoising_strength: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.75
    resize_mode: Annotated[int, Field(ge=0, le=3)] = 0
    include_init_images: bool = False
    mask: str | None = None
    latent_mask: str | None = None
    mask_blur: Blur | None = None
    mask_blur_x: Blur = 4.0
    mask_blur_y: Blur = 4.0
    inpainting_fill: Annotated[int, Field(ge=0, lt=len(FILLS))] = 0
    inpaint_full_res: bool = True
    inpaint_full_res_padding: Annotated[int, Field(ge=0, le=8192)] = 0
    inpainting_mask_invert: Annotated[int, Field(ge=0, le=1)] = 0

    def settings(self) -> Settings:
        """Raises as the one that it extends, and ApiError 422 for a blur that is not round."""
        settings = replace(
            super().settings(),
            strength=self.denoising_strength,
            resize=RESIZE[0 if self.mask and self.resize_mode == 3 else self.resize_mode],
            match_colour="histogram" if self._corrects_colours() else None,
        )
        return replace(settings, **self._masking()) if self.mask else settings

    def _corrects_colours(self) -> bool:
        return (self.override_settings or {}).get("img2img_color_correction") is True

    def _masking(self) -> dict[str, Any]:
        if self.mask_blur is None and self.mask_blur_x != self.mask_blur_y:
            message = (
                "mask_blur_x, mask_blur_y: expected the same, for masks are blurred both ways "
                f"alike, got {self.mask_blur_x:g} and {self.mask_blur_y:g}"
            )
            raise ApiError(422, "unsupported", message, field="mask_blur_x")
        return {
            "mask_blur": self.mask_blur_x if self.mask_blur is None else self.mask_blur,
            "mask_fill": FILLS[self.inpainting_fill],
            "mask_padding": self.inpaint_full_res_padding if self.inpaint_full_res else None,
            "mask_invert": self.inpainting_mask_invert == 1,
        }

    def refuse_scripts(self) -> None:
        super().refuse_scripts()
        if self.latent_mask is not None:
            message = "latent_mask: what is repainted is what `mask` says; leave it out"
            raise ApiError(422, "unsupported", message, field="latent_mask")
        if len(self.init_images) != 1:
            message = f"init_images: expected one picture, got {len(self.init_images)}"
            raise ApiError(422, "invalid_request", message, field="init_images")


def sampler_and_sigmas(name: str | None, scheduler: str | None) -> tuple[str | None, str | None]:
    """Our names for "DPM++ 2M" and "Karras", or for the older "DPM++ 2M Karras".

    Raises ApiError 404 for what is not known, in that server's words.
    """
    wanted = (scheduler or "automatic").lower()
    if wanted not in SCHEDULERS:
        raise ApiError(404, "scheduler_not_found", "Scheduler not found", field="scheduler")
    if name is None:
        return None, None if wanted == "automatic" else wanted
    known = {label.lower(): ours for ours, label in SAMPLER_NAMES.items()}
    known |= {ours: ours for ours in SAMPLER_NAMES}
    plain, _, last = name.strip().lower().rpartition(" ")
    if name.strip().lower() not in known and last in SCHEDULERS and plain in known:
        return known[plain], last
    if name.strip().lower() not in known:
        raise ApiError(404, "sampler_not_found", "Sampler not found", field="sampler_name")
    return known[name.strip().lower()], None if wanted == "automatic" else wanted
