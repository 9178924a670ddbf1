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
from typing import Self

from overpaint.bundle import layout
from overpaint.bundle.errors import UsageError
from overpaint.bundle.files.hashing import Progress
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.manifest import Manifest
from overpaint.bundle.format.open import open_bundle
from overpaint.engines.choose import Decision, choose, open_session
from overpaint.engines.session.closing import Closing

from .calls import Calls
from .cancel import Cancel
from .components import Components
from .default_bundle import bundle_to_open
from .image import ImageLike
from .precision_gate import Steps, gated
from .refine import HAND_OVER, Refiner
from .result import Complete, Result, Step
from .run import Engines, run
from .settings import Settings
from .text import TextEncoders

_LOG = logging.getLogger(__name__)


class Img2Img(Calls, Closing):
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
        precision: str = "f32",
        low_memory: bool = False,
        progress: Progress | None = None,
        comparing: Steps | None = None,
    ) -> Self:
        """Open `bundle`, a folder that `overpaint export` made; None is the embedded model.

        A checkpoint (a `.safetensors` file, a diffusers folder) is imported into the user's cache
        at its first use.

        lora: FILE or FILE:WEIGHT, fused into a bundle in the user's cache.
        like: what a single file is, where it does not tell, as `overpaint import --like`.
        device: "auto" takes the fastest that fits; "cpu", "cuda", "tensorrt" and "openvino"
            insist.
        precision: "f32"; with "openvino" also "bf16", about twice as fast where the processor has
            it. At its first use on a bundle one picture is painted in both: below 30 dB is refused.
        low_memory: open each engine when it is used and close it after.
        progress: called with (bytes done, bytes in all) while files are hashed; the weights are
            at the first opening of a bundle only.
        comparing: called with (steps done, steps in all) while bf16 is compared with f32.

        The manifest and the small files are verified here. The engines load in the background:
        the first call waits for what it needs, `wait` for all of them.

        Raises BundleError, CheckpointError, IntegrityError, MissingExtraError, SessionError.
        """
        opened = open_bundle(bundle_to_open(bundle, lora, like), progress=progress)
        decision = choose(opened, device, precision)
        if decision.precision == "bf16":
            decision = gated(opened, decision, comparing)
        _LOG.info("%s runs on %s: %s", opened.folder, decision.chosen.device, decision.chosen.why)
        components = Components(
            _by_first_use(opened.manifest),
            lambda name: open_session(opened, name, decision),
            low_memory=low_memory,
        )
        return cls(opened, components, decision)

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


def _by_first_use(manifest: Manifest) -> tuple[str, ...]:
    """Component names, the order in which a run needs them first."""
    order = [encoder.component for encoder in manifest.text.encoders]
    order += [layout.VAE_ENCODER, manifest.denoiser, layout.VAE_DECODER]
    return tuple(name for name in order if name in manifest.components)
