"""What a run works with: a bundle's sessions and text encoders, used by one run at a time."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from overpaint.bundle import layout
from overpaint.bundle.errors import UsageError
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.manifest import Lora
from overpaint.bundle.lora.branches import SCALE
from overpaint.bundle.tiny_vae.attach import has_tiny_vae
from overpaint.engines.choose import Decision

from .choices import LATENTS
from .components import Components
from .settings import Settings
from .text import TextEncoders
from .tiles.parts import Parts
from .upscaler import Upscaler

Array: TypeAlias = npt.NDArray[np.float32]

SEEING: Final = "denoiser with references"
"""What the session is called whose denoiser sees reference pictures."""


@dataclass(frozen=True, slots=True)
class Adapters:
    """The LoRAs that an extension's engines turn: each file's SHA-256, by name."""

    hashes: Mapping[str, str]

    def scale(self, weights: Mapping[str, float]) -> Array:
        """The graphs' input (N,): a weight for each file, in the order of their hashes. Two names
        of one file add up."""
        order = sorted(set(self.hashes.values()))
        scale = np.zeros(len(order), np.float32)
        for name, weight in weights.items():
            if weight:
                scale[order.index(self.hashes[name])] += weight
        return scale

    def used(self, weights: Mapping[str, float]) -> tuple[Lora, ...]:
        """What a picture says of those that have a weight."""
        return tuple(
            Lora(name=name, sha256=self.hashes[name], weight=float(weight))
            for name, weight in weights.items()
            if weight
        )


def turned_by(bundle: Bundle) -> tuple[str, ...]:
    """The components of `bundle` whose graphs have branches for LoRAs."""
    return tuple(
        name
        for name, component in bundle.manifest.components.items()
        if any(tensor.name == SCALE for tensor in component.inputs)
    )


PLAIN: Final = ":plain"
"""Behind a denoiser's name: as the base has it, without residual inputs."""


@dataclass(frozen=True, slots=True)
class Engines:
    """A bundle, its sessions, its text encoders and what they remember. `adapters`: the LoRAs that
    stand beside its layers, where it has such. `seeing`: the same bundle with an IP-Adapter, whose
    denoiser sees reference pictures. `parts`: its VAE for pictures in tiles. `upscaler`: the
    network that enlarges pictures, where there is one."""

    bundle: Bundle
    components: Components
    text: TextEncoders
    decision: Decision | None
    adapters: Adapters | None = None
    seeing: Bundle | None = None
    parts: Parts | None = None
    upscaler: Upscaler | None = None
    _running: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def of(
        cls,
        bundle: Bundle,
        components: Components,
        decision: Decision | None = None,
        seeing: Bundle | None = None,
        upscaler: Upscaler | None = None,
    ) -> Engines:
        """The engines of `bundle`, with text encoders that remember nothing yet."""
        text = TextEncoders(bundle.folder, components)
        parts = None if decision is None else Parts(bundle, decision)
        return cls(
            bundle, components, text, decision, seeing=seeing, parts=parts, upscaler=upscaler
        )

    def lora_scale(self, weights: Mapping[str, float]) -> Array | None:
        """What the branches are fed, (N,); None where there are none."""
        return None if self.adapters is None else self.adapters.scale(weights)

    def denoiser(self, *, controlled: bool) -> str:
        """What the denoiser's session is called: of a bundle with control networks, a run without
        them has the base's own, unless LoRAs turn it."""
        name = self.bundle.manifest.denoiser
        inputs = self.bundle.manifest.components[name].inputs
        takes = any(one.name.startswith(layout.RESIDUAL) for one in inputs)
        base = takes and not controlled and self.adapters is None
        return f"{name}{PLAIN}" if base else name

    def enlarging(self, settings: Settings) -> Upscaler | None:
        """The network that enlarges the picture of a run; None where it keeps its size, or Lanczos
        enlarges it, or its latents are."""
        if settings.upscale is None or settings.resize == LATENTS:
            return None
        return self.upscaler

    def vae(self, which: str) -> tuple[str, str]:
        """What the sessions of an encoder and a decoder are called, "own" or "tiny".

        Raises UsageError where there is no tiny one.
        """
        if which == "own":
            return layout.VAE_ENCODER, layout.VAE_DECODER
        if not has_tiny_vae(self.bundle.manifest):
            raise UsageError(
                f"vae: {self.bundle.manifest.name} was opened without a tiny one; name its file or "
                "folder with --tiny-vae (tiny_vae in Python)"
            )
        return layout.TINY_VAE

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """While the block runs, the sessions' buffers are this run's.

        Raises UsageError where another run is under way.
        """
        if not self._running.acquire(blocking=False):
            raise UsageError(
                "this pipeline is already running; finish or close its other stream first, "
                "or open a pipeline for each thread"
            )
        try:
            yield
        finally:
            self._running.release()
