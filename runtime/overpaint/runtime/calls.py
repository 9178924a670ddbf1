"""A run's options as keywords: how a pipeline is called."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .cancel import Cancel
from .image import ImageLike, Resize
from .result import Complete, Result, Step
from .settings import Mode, Preset, Settings

if TYPE_CHECKING:
    from .pipeline import Img2Img


class Calls(ABC):
    """Keywords -> Settings, for a pipeline that runs Settings."""

    @abstractmethod
    def run(
        self,
        image: ImageLike | None,
        prompt: str,
        settings: Settings,
        cancel: Cancel | None = None,
        refiner: Img2Img | None = None,
        hand_over: float | None = None,
    ) -> Result:
        """A call whose options are already Settings."""

    @abstractmethod
    def events(
        self,
        image: ImageLike | None,
        prompt: str,
        settings: Settings,
        cancel: Cancel | None = None,
        refiner: Img2Img | None = None,
        hand_over: float | None = None,
    ) -> Iterator[Step | Complete]:
        """A stream whose options are already Settings."""

    def __call__(
        self,
        image: ImageLike | None,
        prompt: str,
        *,
        strength: float | None = None,
        reference_strength: float | None = None,
        mode: Mode | None = None,
        preset: Preset | None = None,
        steps: int | None = None,
        steps_mode: str | None = None,
        guidance_scale: float | None = None,
        guidance_rescale: float = 0.0,
        negative_prompt: str | None = None,
        sampler: str | None = None,
        sigmas: str | None = None,
        eta: float = 0.0,
        denoising_start: float | None = None,
        denoising_end: float | None = None,
        seed: int | None = None,
        rng: str | None = None,
        n: int = 1,
        size: tuple[int, int] | None = None,
        resize: Resize = "stretch",
        max_sequence_length: int | None = None,
        prompt_chunks: bool = False,
        prompt_weights: bool = False,
        refiner: Img2Img | None = None,
        hand_over: float | None = None,
        cancel: Cancel | None = None,
    ) -> Result:
        """Repaint `image` as `prompt` says and return the Result; `Settings` explains the options.

        `image` None is text to image. What is None comes from preset, mode, or the bundle.
        `refiner`, another pipeline with latents like these (SDXL's refiner), finishes what this one
        begins: it takes the latents over after the part `hand_over`, between 0 and 1 and 0.8 where
        None, of the way from noise to picture.
        `cancel`, a threading.Event or a function that returns a bool, is asked between steps:
        once it says yes, CancelledError is raised.

        Raises UsageError, ImageError, SessionError, CancelledError.
        """
        settings = Settings(
            strength=strength,
            reference_strength=reference_strength,
            mode=mode,
            preset=preset,
            steps=steps,
            steps_mode=steps_mode,
            guidance_scale=guidance_scale,
            guidance_rescale=guidance_rescale,
            negative_prompt=negative_prompt,
            sampler=sampler,
            sigmas=sigmas,
            eta=eta,
            denoising_start=denoising_start,
            denoising_end=denoising_end,
            seed=seed,
            rng=rng,
            n=n,
            size=size,
            resize=resize,
            max_sequence_length=max_sequence_length,
            prompt_chunks=prompt_chunks,
            prompt_weights=prompt_weights,
        )
        return self.run(image, prompt, settings, cancel, refiner, hand_over)

    def stream(
        self,
        image: ImageLike | None,
        prompt: str,
        *,
        strength: float | None = None,
        reference_strength: float | None = None,
        mode: Mode | None = None,
        preset: Preset | None = None,
        steps: int | None = None,
        steps_mode: str | None = None,
        guidance_scale: float | None = None,
        guidance_rescale: float = 0.0,
        negative_prompt: str | None = None,
        sampler: str | None = None,
        sigmas: str | None = None,
        eta: float = 0.0,
        denoising_start: float | None = None,
        denoising_end: float | None = None,
        seed: int | None = None,
        rng: str | None = None,
        n: int = 1,
        size: tuple[int, int] | None = None,
        resize: Resize = "stretch",
        max_sequence_length: int | None = None,
        prompt_chunks: bool = False,
        prompt_weights: bool = False,
        refiner: Img2Img | None = None,
        hand_over: float | None = None,
        cancel: Cancel | None = None,
    ) -> Iterator[Step | Complete]:
        """As a call, but yields a Step after each denoising step, and a Complete at the end.

        Closing the iterator early (or leaving it to be collected) ends the run.
        """
        settings = Settings(
            strength=strength,
            reference_strength=reference_strength,
            mode=mode,
            preset=preset,
            steps=steps,
            steps_mode=steps_mode,
            guidance_scale=guidance_scale,
            guidance_rescale=guidance_rescale,
            negative_prompt=negative_prompt,
            sampler=sampler,
            sigmas=sigmas,
            eta=eta,
            denoising_start=denoising_start,
            denoising_end=denoising_end,
            seed=seed,
            rng=rng,
            n=n,
            size=size,
            resize=resize,
            max_sequence_length=max_sequence_length,
            prompt_chunks=prompt_chunks,
            prompt_weights=prompt_weights,
        )
        return self.events(image, prompt, settings, cancel, refiner, hand_over)

    def text_to_image(
        self,
        prompt: str,
        *,
        size: tuple[int, int],
        preset: Preset | None = None,
        steps: int | None = None,
        guidance_scale: float | None = None,
        guidance_rescale: float = 0.0,
        negative_prompt: str | None = None,
        sampler: str | None = None,
        sigmas: str | None = None,
        eta: float = 0.0,
        denoising_end: float | None = None,
        seed: int | None = None,
        rng: str | None = None,
        n: int = 1,
        max_sequence_length: int | None = None,
        prompt_chunks: bool = False,
        prompt_weights: bool = False,
        refiner: Img2Img | None = None,
        hand_over: float | None = None,
        cancel: Cancel | None = None,
    ) -> Result:
        """A picture of `size` (width, height) from `prompt` alone, on the same sessions."""
        settings = Settings(
            size=size,
            preset=preset,
            steps=steps,
            guidance_scale=guidance_scale,
            guidance_rescale=guidance_rescale,
            negative_prompt=negative_prompt,
            sampler=sampler,
            sigmas=sigmas,
            eta=eta,
            denoising_end=denoising_end,
            seed=seed,
            rng=rng,
            n=n,
            max_sequence_length=max_sequence_length,
            prompt_chunks=prompt_chunks,
            prompt_weights=prompt_weights,
        )
        return self.run(None, prompt, settings, cancel, refiner, hand_over)
