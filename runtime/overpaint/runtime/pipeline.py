"""Image to image, and text to image, on one bundle's engines.

with Img2Img.open("bundles/sd15") as pipe:
    result = pipe("photo.jpg", "a watercolour", strength=0.6, seed=7)
    result.images[0].save("out.png")
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal, Self, TypeAlias, Unpack, cast

from overpaint.bundle import layout
from overpaint.bundle.embeddings.extend import with_embeddings
from overpaint.bundle.errors import UsageError
from overpaint.bundle.files.hashing import Progress
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.manifest import Manifest
from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.tiny_vae.attach import with_tiny_vae
from overpaint.engines.choose import Decision, choose
from overpaint.engines.session.closing import Closing

from .cancel import Cancel
from .components import Components
from .control.control import Control
from .control.opening import with_control
from .default_bundle import EMBEDDED, bundle_to_open
from .engines import PLAIN, Engines
from .fidelity import EXACT
from .fidelity_gate import judge
from .hires import is_hires, run_hires
from .image import ImageLike
from .ip_adapter.open import names_with_references, open_seeing, opener
from .live.asked import live_request
from .live.live import Live
from .lora.live import LiveLoras
from .precision_gate import Steps, gated
from .request import HAND_OVER, Refiner, Request
from .result import Complete, Result, Step
from .run import run
from .settings import Options, Settings
from .upscaler import Upscaler

LoraMode: TypeAlias = Literal["fused", "live"]
LORA_MODES: Final = ("fused", "live")

_LOG = logging.getLogger(__name__)


class Img2Img(Closing):
    """A bundle, opened: a function from a picture and a prompt to pictures.

    Not re-entrant: the engines' buffers belong to one run at a time. A call made while another
    is under way, from any thread, raises UsageError; a server gives each worker its own pipeline.
    """

    def __init__(
        self, engines: Engines, *, lora_folder: Path | None = None, embedded: bool = False
    ) -> None:
        """Prefer `Img2Img.open`; this takes sessions that are already provided for. `embedded`:
        whether they are the embedded model's, which has LoRAs of its own."""
        self.engines = engines
        self.loras = LiveLoras(engines, folder=lora_folder, embedded=embedded)
        self._judged: dict[str, float] = {}

    @classmethod
    def open(
        cls,
        bundle: str | os.PathLike[str] | None = None,
        *,
        lora: Sequence[str] | Mapping[str, str | os.PathLike[str]] = (),
        lora_mode: LoraMode = "fused",
        lora_folder: str | os.PathLike[str] | None = None,
        like: str | None = None,
        ip_adapter: str | os.PathLike[str] | None = None,
        embedding: Mapping[str, str | os.PathLike[str]] | None = None,
        control: Sequence[str | os.PathLike[str]] = (),
        tiny_vae: str | os.PathLike[str] | None = None,
        upscaler: str | os.PathLike[str] | None = None,
        device: str = "auto",
        precision: str = "f32",
        gpu_memory: int | None = None,
        low_memory: bool = False,
        progress: Progress | None = None,
        comparing: Steps | None = None,
    ) -> Self:
        """Open `bundle`, a folder that `overpaint export` made; None is the embedded model.

        A checkpoint (a `.safetensors` file, a diffusers folder) is imported into the user's cache
        at its first use.

        lora: fused into a bundle in the user's cache, each FILE or FILE:WEIGHT; with the lora_mode
            "live" files by names of their own, whose weights each call gives anew.
        lora_folder: where LoRAs are looked for that are named by a file without its suffix, here
            and in a call, which opens them. The embedded model has some of its own.
        like: what a single file is, where it does not tell, as `overpaint import --like`.
        ip_adapter: a folder that `overpaint import` made of an IP-Adapter, through which the
            denoiser sees reference pictures. Runs without any are the bundle's own.
        embedding: textual inversions, `.safetensors` files by the words that stand for them in a
            prompt, as in {"<cat-toy>": "cat.safetensors"}. The bundle with these words is made in
            the user's cache.
        control: control networks, each a folder that `overpaint export` or `overpaint import` made
            of a ControlNet and called by its name. The bundle that runs with them is made in the
            user's cache, its weights linked.
        tiny_vae: a tiny autoencoder (diffusers' AutoencoderTiny, TAESD), its folder or its
            `.safetensors` file: previews come from it, and with the option vae "tiny" pictures.
        upscaler: an ONNX file of a network that enlarges pictures two to four times, as ESRGAN's
            do: one input (N,3,H,W), one output (N,3,sH,sW), RGB in [0,1]. The option upscale takes
            it instead of Lanczos. It runs on the processor, in tiles.
        device: "auto" takes the fastest that fits; "cpu", "cuda", "tensorrt",
            "tensorrt-rtx" and "openvino" insist.
        precision: "f32"; with "openvino" also "bf16", about twice as fast where the processor has
            it, and "int8" where `overpaint build --precision int8` has made it. At the first use of
            bf16 on a bundle one small picture is painted in both: below 30 dB is refused.
        gpu_memory: bytes of weights that may lie on the GPU at a time, with "tensorrt-rtx" and
            plans built for it; the rest comes from the host's memory when it is used. None: all.
        low_memory: open each engine when it is used and close it after; on ONNX Runtime's processor
            large kernels in half precision stay in their file, for a sixth of a step's time.
        progress: called with (bytes done, bytes in all) while files are hashed; the weights are
            at the first opening of a bundle only.
        comparing: called with (steps done, steps in all) while bf16 is compared with f32.

        The manifest and the small files are verified here. The engines load in the background:
        the first call waits for what it needs, `wait` for all of them.

        Raises BundleError, CheckpointError, IntegrityError, MissingExtraError, SessionError.
        """
        fused, live = _fused_and_live(lora, lora_mode)
        enlarging = None if upscaler is None else Upscaler.open(upscaler)
        folder = None if lora_folder is None else Path(lora_folder)
        made = bundle_to_open(bundle, fused, like, lora_folder=folder)
        own = open_bundle(made, progress=progress)
        base = own
        if tiny_vae is not None:
            base = open_bundle(with_tiny_vae(own, Path(tiny_vae), progress), progress=progress)
        if embedding:
            files = {word: Path(file) for word, file in embedding.items()}
            base = open_bundle(with_embeddings(base, files, progress), progress=progress)
        opened = with_control(base, control, progress)
        decision = choose(opened, device, precision, gpu_memory)
        decision = replace(gated(opened, decision, comparing), low_memory=low_memory)
        _LOG.info("%s runs on %s: %s", opened.folder, decision.chosen.device, decision.chosen.why)
        if control and ip_adapter is not None:
            raise UsageError("control, ip_adapter: a pipeline has one of them; open two pipelines")
        seeing = None if ip_adapter is None else open_seeing(opened, ip_adapter, progress)
        if seeing is not None:  # whose plans may be missing
            choose(seeing, decision.chosen.device, precision, gpu_memory)
        components = Components(
            (),
            opener(opened, base, decision, seeing),
            low_memory=low_memory,
            instead={opened.manifest.denoiser: f"{opened.manifest.denoiser}{PLAIN}"},
        )
        pipe = cls(
            Engines.of(opened, components, decision, seeing, enlarging),
            lora_folder=folder,
            embedded=own.folder == EMBEDDED,
        )
        if live:
            pipe.loras.add(live, progress)
        # What LoRAs turn is opened without them when a run does without them.
        turned = pipe.loras.turned
        names = _by_first_use(opened.manifest)
        if seeing is not None:
            names = names_with_references(names, opened.manifest)
        components.begin(tuple(name for name in names if name not in turned))
        return pipe

    @property
    def bundle(self) -> Bundle:
        """What is run."""
        return self.engines.bundle

    @property
    def decision(self) -> Decision | None:
        """What runs it, and why."""
        return self.engines.decision

    def __call__(
        self,
        image: ImageLike | None,
        prompt: str,
        *,
        mask: ImageLike | None = None,
        lora: Mapping[str, float] | None = None,
        ip_adapter_image: ImageLike | Sequence[ImageLike] = (),
        ip_adapter_mask: ImageLike | Sequence[ImageLike] = (),
        reference_image: ImageLike | Sequence[ImageLike] = (),
        control: Mapping[str, Control] | None = None,
        refiner: Img2Img | None = None,
        hand_over: float | None = None,
        cancel: Cancel | None = None,
        **options: Unpack[Options],
    ) -> Result:
        """Repaint `image` as `prompt` says and return the Result; `Settings` has the options.

        `image` None is text to image. What is None comes from preset, mode, or the bundle.
        `control`: by the names of the control networks that are open, what each is shown.
        `mask`, a picture or an array (H,W), is white where `image` is repainted and black where
        every pixel is kept.
        `lora` has weights from -2 to 2, by name, of LoRAs that were opened "live", that `add_lora`
        opened, or that lie in the `lora_folder`; those that it does not name have none.
        `ip_adapter_image`, one or several, are reference pictures, seen through the adapter that
        the pipeline was opened with; `ip_adapter_mask`, one for each, is white where it counts.
        `reference_image`, one or several, are pictures that the denoiser itself looks at beside
        `image`, as FLUX.2 klein does.
        `refiner`, another pipeline with latents like these (SDXL's refiner), finishes what this one
        begins: it takes the latents over after the part `hand_over`, between 0 and 1 and 0.8 where
        None, of the way from noise to picture.
        `cancel`, a threading.Event or a function that returns a bool, is asked between steps:
        once it says yes, CancelledError is raised.

        Raises UsageError, ImageError, SessionError, CancelledError.
        """
        references = ip_adapter_image, ip_adapter_mask, reference_image
        request = self._request(
            image, prompt, mask, lora, references, control, refiner, hand_over, options
        )
        return self.run(request, cancel)

    def stream(
        self,
        image: ImageLike | None,
        prompt: str,
        *,
        mask: ImageLike | None = None,
        lora: Mapping[str, float] | None = None,
        ip_adapter_image: ImageLike | Sequence[ImageLike] = (),
        ip_adapter_mask: ImageLike | Sequence[ImageLike] = (),
        reference_image: ImageLike | Sequence[ImageLike] = (),
        control: Mapping[str, Control] | None = None,
        refiner: Img2Img | None = None,
        hand_over: float | None = None,
        cancel: Cancel | None = None,
        **options: Unpack[Options],
    ) -> Iterator[Step | Complete]:
        """As a call, but yields a Step after each denoising step, and a Complete at the end.

        Closing the iterator early (or leaving it to be collected) ends the run.
        """
        references = ip_adapter_image, ip_adapter_mask, reference_image
        request = self._request(
            image, prompt, mask, lora, references, control, refiner, hand_over, options
        )
        return self.events(request, cancel)

    def text_to_image(
        self,
        prompt: str,
        *,
        lora: Mapping[str, float] | None = None,
        ip_adapter_image: ImageLike | Sequence[ImageLike] = (),
        ip_adapter_mask: ImageLike | Sequence[ImageLike] = (),
        reference_image: ImageLike | Sequence[ImageLike] = (),
        control: Mapping[str, Control] | None = None,
        refiner: Img2Img | None = None,
        hand_over: float | None = None,
        cancel: Cancel | None = None,
        **options: Unpack[Options],
    ) -> Result:
        """A picture of `size` (width, height) from `prompt` alone, on the same sessions."""
        references = ip_adapter_image, ip_adapter_mask, reference_image
        request = self._request(
            None, prompt, None, lora, references, control, refiner, hand_over, options
        )
        return self.run(request, cancel)

    def live(
        self,
        prompt: str,
        *,
        lora: Mapping[str, float] | None = None,
        similar: float | None = None,
        residual_guidance: float = 1.0,
        **options: Unpack[Options],
    ) -> Live:
        """A function from frame to repainted frame, for as long as frames come.

        Of `steps` all are run, whatever the strength: 4 where none are asked for, without guidance,
        by TCD where the checkpoint can. The seed's noise is the same for every frame.
        `lora` as in a call; what is open when frames begin may be turned from frame to frame.
        `similar`: a frame whose colours differ by less, in levels of 255 on the mean, from those of
        the last one that was repainted, is shown as that was.
        `residual_guidance`: guidance away from the frame itself, which costs no second call of the
        denoiser (StreamDiffusion's); 1 is off, and it takes the place of `guidance_scale`.

        Raises UsageError.
        """
        settings = Settings(**options)
        return Live(
            lambda request: self.loras.engines(request.lora_weights()),
            live_request(self.bundle, prompt, settings, residual_guidance, lora or {}),
            similar=similar,
            residual_guidance=residual_guidance,
        )

    def run(self, request: Request, cancel: Cancel | None = None) -> Result:
        """A call in one piece."""
        for event in self.events(request, cancel):
            if isinstance(event, Complete):
                return event.result
        raise AssertionError("a run ends in Complete or an error")

    def events(self, request: Request, cancel: Cancel | None = None) -> Iterator[Step | Complete]:
        """A stream in one piece; a level of fidelity is compared with exact before its first."""
        engines = self.loras.engines(request.lora_weights())
        level = request.settings.fidelity
        if level != EXACT and level not in self._judged:
            self._judged[level] = judge(engines, level, cancel)
        painting = run_hires if is_hires(request) else run
        events = painting(engines, request, cancel)
        return self._told(events, self._judged.get(level))

    def _told(
        self, events: Iterator[Step | Complete], decibels: float | None
    ) -> Iterator[Step | Complete]:
        """`events`, whose result says how far its level of fidelity is from exact."""
        for event in events:
            if isinstance(event, Complete) and decibels is not None:
                yield Complete(replace(event.result, fidelity_db=decibels))
            else:
                yield event

    def add_lora(self, name: str, file: str | os.PathLike[str]) -> None:
        """Open a LoRA, so that calls may give it a weight; the bundle's own engines stay open.

        Raises CheckpointError, SessionError; UsageError while a run is under way.
        """
        self.loras.add({name: Path(file)})

    def remove_lora(self, name: str) -> None:
        """Close a LoRA. UsageError where none is called so, or while a run is under way."""
        self.loras.remove(name)

    def wait(self) -> Self:
        """Return when every engine is open; raises what kept one from opening."""
        self.engines.components.wait()
        self.loras.wait()
        return self

    def forget_prompts(self) -> None:
        """Encode every prompt anew from now on, for whoever measures that."""
        self.engines.text.forget()
        self.loras.forget_prompts()

    def close(self) -> None:
        """Close every engine. May be repeated."""
        self.loras.close()
        self.engines.components.close()
        if self.engines.upscaler is not None:
            self.engines.upscaler.close()

    def _request(
        self,
        image: ImageLike | None,
        prompt: str,
        mask: ImageLike | None,
        lora: Mapping[str, float] | None,
        references: Sequence[ImageLike | Sequence[ImageLike]],
        control: Mapping[str, Control] | None,
        refiner: Img2Img | None,
        hand_over: float | None,
        options: Options,
    ) -> Request:
        finishing = None
        if refiner is self:
            raise UsageError("refiner: expected another pipeline, got the one that begins")
        if refiner is not None:
            finishing = Refiner(refiner.engines, HAND_OVER if hand_over is None else hand_over)
        elif hand_over is not None:
            raise UsageError("hand_over: it says when a refiner takes over, and none is given")
        pictures, masks, looked_at = map(_several, references)
        return Request(
            image,
            prompt,
            Settings(**options),
            refiner=finishing,
            mask=mask,
            lora=dict(lora or {}),
            control=dict(control or {}),
            ip_adapter_image=pictures,
            ip_adapter_mask=masks,
            reference_image=looked_at,
        )


def _several(pictures: ImageLike | Sequence[ImageLike]) -> tuple[ImageLike, ...]:
    """One picture or several, as several."""
    if isinstance(pictures, list | tuple):
        return tuple(pictures)
    return (cast(ImageLike, pictures),)


def _fused_and_live(
    lora: Sequence[str] | Mapping[str, str | os.PathLike[str]], mode: str
) -> tuple[tuple[str, ...], dict[str, Path]]:
    """The LoRAs to fuse, and those to open beside. Raises UsageError where `lora` is not as the
    mode has it."""
    if mode not in LORA_MODES:
        raise UsageError(f"lora_mode: expected {' or '.join(LORA_MODES)}, got {mode!r}")
    if isinstance(lora, Mapping):
        if mode == "fused":
            raise UsageError(
                "lora: names are for lora_mode live; to fuse, give a list of FILE or FILE:WEIGHT"
            )
        return (), {name: Path(file) for name, file in lora.items()}
    if mode == "live" and lora:
        raise UsageError(
            "lora: with lora_mode live, expected names of files, as in {'ink': 'ink.safetensors'}; "
            "each call gives their weights"
        )
    return tuple(lora), {}


def _by_first_use(manifest: Manifest) -> tuple[str, ...]:
    """Component names, the order in which a run needs them first."""
    order = [encoder.component for encoder in manifest.text.encoders]
    order.append(layout.VAE_ENCODER)
    order += [name for name in manifest.components if layout.controls(name) is not None]
    order += [manifest.denoiser, layout.VAE_DECODER]
    return tuple(name for name in order if name in manifest.components)
