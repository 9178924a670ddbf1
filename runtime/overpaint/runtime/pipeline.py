"""Image to image, and text to image, on one bundle's engines.

with Img2Img.open("bundles/sd15") as pipe:
    result = pipe("photo.jpg", "a watercolour", strength=0.6, seed=7)
    result.images[0].save("out.png")
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from overpaint.engines import layout
from overpaint.engines.bundle import Bundle, open_bundle
from overpaint.engines.devices import Decision, choose, open_session
from overpaint.engines.errors import UsageError
from overpaint.engines.hashing import Progress
from overpaint.engines.manifest import Manifest

from .cancel import Cancel
from .components import Components
from .default_bundle import bundle_to_open
from .image import ImageLike, Resize
from .refine import HAND_OVER, Refiner
from .result import Complete, Result, Step
from .run import Engines, run
from .settings import Mode, Preset, Settings
from .text import TextEncoders

_LOG = logging.getLogger(__name__)


class Img2Img:
    """A bundle, opened: a function from a picture and a prompt to pictures.

    Not re-entrant: the engines' buffers belong to one run at a time. A call made while another
    is under way, from any thread, raises UsageError; a server gives each worker its own pipeline.
    """

    def __init__(
        self, bundle: Bundle, components: Components, decision: Decision | None = None
    ) -> None:
        """Prefer `Img2Img.open`; this takes sessions that are already provided for."""
        self.bundle = bundle
        self.decision = decision
        self._components = components
        self._engines = Engines(
            bundle, components, TextEncoders(bundle.folder, components), decision
        )
        self._running = threading.Lock()

    @classmethod
    def open(
        cls,
        bundle: str | os.PathLike[str] | None = None,
        *,
        lora: Sequence[str] = (),
        like: str | None = None,
        device: str = "auto",
        low_memory: bool = False,
        progress: Progress | None = None,
    ) -> Self:
        """Open `bundle`, a folder that `overpaint export` made; None is the embedded model.

        A checkpoint (a `.safetensors` file, a diffusers folder) is imported into the user's cache
        at its first use.

        lora: FILE or FILE:WEIGHT, fused into a bundle in the user's cache.
        like: what a single file is, where it does not tell, as `overpaint import --like`.
        device: "auto" takes the fastest that fits; "cpu", "cuda", "tensorrt", "openvino" insist.
        low_memory: open each engine when it is used and close it after.
        progress: called with (bytes done, bytes in all) while files are hashed; the weights are
            at the first opening of a bundle only.

        The manifest and the small files are verified here. The engines load in the background:
        the first call waits for what it needs, `wait` for all of them.

        Raises BundleError, CheckpointError, IntegrityError, MissingExtraError, SessionError.
        """
        opened = open_bundle(bundle_to_open(bundle, lora, like), progress=progress)
        decision = choose(opened, device)
        _LOG.info("%s runs on %s: %s", opened.folder, decision.chosen.device, decision.chosen.why)
        components = Components(
            _by_first_use(opened.manifest),
            lambda name: open_session(opened, name, decision),
            low_memory=low_memory,
        )
        return cls(opened, components, decision)

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
        for event in self.events(image, prompt, settings, cancel, refiner, hand_over):
            if isinstance(event, Complete):
                return event.result
        raise AssertionError("a run ends in Complete or an error")

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
        if refiner is self:
            raise UsageError("refiner: expected another pipeline, got the one that begins")
        if refiner is None and hand_over is not None:
            raise UsageError("hand_over: it says when a refiner takes over, and none is given")
        with contextlib.ExitStack() as held:
            finisher = None
            held.enter_context(self._alone())
            if refiner is not None:
                held.enter_context(refiner._alone())
                at = HAND_OVER if hand_over is None else hand_over
                finisher = Refiner(refiner._engines, at)
            yield from run(self._engines, image, prompt, settings, cancel, finisher)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """While the block runs, the engines' buffers are this run's."""
        if not self._running.acquire(blocking=False):
            raise UsageError(
                "this pipeline is already running; finish or close its other stream first, "
                "or open a pipeline for each thread"
            )
        try:
            yield
        finally:
            self._running.release()

    def wait(self) -> Self:
        """Return when every engine is open; raises what kept one from opening."""
        self._components.wait()
        return self

    def forget_prompts(self) -> None:
        """Encode every prompt anew from now on, for whoever measures that."""
        self._engines.text.forget()

    def close(self) -> None:
        """Close every engine. May be repeated."""
        self._components.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _by_first_use(manifest: Manifest) -> tuple[str, ...]:
    """Component names, the order in which a run needs them first."""
    order = [encoder.component for encoder in manifest.text.encoders]
    order += [layout.VAE_ENCODER, manifest.denoiser, layout.VAE_DECODER]
    return tuple(name for name in order if name in manifest.components)
