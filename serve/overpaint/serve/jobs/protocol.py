"""What can run a job: capabilities, submit, progress, cancel, health.

A provider is this process' engines, another overpaint server, or anything else that keeps these
five promises. It knows orders and tickets; ids, records, media and falling back from one provider
to the next are the service's.

    ticket = await provider.submit(order)            # or RefusedError: full, loading, draining, …
    async for event in provider.progress(ticket):    # Queued, Step, … and one last event
        ...
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal, Protocol, TypeAlias

from PIL import Image

from overpaint.bundle.errors import OverpaintError, UsageError
from overpaint.runtime.control.control import Control
from overpaint.runtime.request import lora_weights
from overpaint.runtime.settings import Settings
from overpaint.runtime.tiles.tile import tile_asked, tile_size

from .capabilities import ModelCapabilities

HOP = "X-Overpaint-Hop"
"""The header by which one server tells another that it passes something on."""

Reason = Literal["full", "loading", "draining", "unhealthy", "unreachable", "no_model", "failed"]
State = Literal["ready", "loading", "draining", "unhealthy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One picture to repaint or, with `image` None, to paint.

    `image` is an upright PNG, RGB or RGBA, and `mask` another: white is repainted. So are the
    reference pictures and their masks, one for each or none, those that the denoiser itself looks
    at, and what `control` shows the networks
    that it names. `settings` is what the caller said, and the bundle's defaults fill in the rest.
    `lora` as `Request` has it.
    """

    model: str
    prompt: str
    image: bytes | None = None
    mask: bytes | None = None
    ip_adapter_image: tuple[bytes, ...] = ()
    ip_adapter_mask: tuple[bytes, ...] = ()
    reference_image: tuple[bytes, ...] = ()
    control: Mapping[str, Control] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)
    lora: Mapping[str, float] = field(default_factory=dict)

    def lora_weights(self) -> dict[str, float]:
        """`lora`, and what the prompt says. Raises UsageError."""
        return lora_weights(self.lora, self.prompt, self.settings)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) that it asks for, or else of its image, extended as it is to be."""
        if self.settings.size is not None or self.image is None:
            return self.settings.size or (0, 0)
        width, height = struct.unpack(">II", self.image[16:24])  # PNG's header
        left, top, right, bottom = self.settings.extend or (0, 0, 0, 0)
        return left + width + right, top + height + bottom

    @property
    def pixels(self) -> int:
        """Of each of its pictures, before it is enlarged."""
        width, height = self.size
        return width * height

    @property
    def painted(self) -> int:
        """Pixels of each picture that comes of it."""
        return round(self.pixels * (self.settings.upscale or 1) ** 2)

    def at_once(self, native: tuple[int, int]) -> int:
        """Pixels of each picture that an engine computes at a time, where `native` is the (width,
        height) of its model: all of them, or a tile's."""
        tile = tile_asked(self.settings.tile, self.settings.upscale)
        if tile is None:
            return self.painted
        asked = tile_size(tile)
        one, whole = (prod(asked),) * 2 if asked else (prod(native), 2 * prod(native))
        return self.painted if self.painted <= whole else one

    @property
    def all_pixels(self) -> int:
        """Of all of its pictures together."""
        return self.painted * self.settings.pictures


def check_memory(order: Order, model: ModelCapabilities) -> None:
    """Raises UsageError for a job that needs more memory than the model's server has."""
    n, pixels = order.settings.pictures, order.at_once(model.native)
    if model.most_pixels and pixels > (most := model.most_pixels[n - 1]):
        if pixels < order.painted:
            raise UsageError(
                f"tile: {model.name} has memory for {most} pixels at a time with n={n}, got tiles "
                f"of {pixels}; ask for smaller ones, as WIDTHxHEIGHT, or fewer pictures"
            )
        width, height = order.size
        raise UsageError(
            f"size: {model.name} has memory for {most} pixels a picture with n={n}, "
            f"got {width}x{height}, which is {pixels}; ask for a smaller size, fewer, or a tile"
        )


@dataclass(frozen=True, slots=True)
class Queued:
    """It waits; `position` 0 is next."""

    position: int


@dataclass(frozen=True, slots=True)
class Started:
    """An engine works on it: reading the picture and the prompt, before the first step."""


@dataclass(frozen=True, slots=True)
class Step:
    """`index` of `total` denoising steps are done. `preview` is the newest small JPEG, if any."""

    index: int
    total: int
    preview: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Painted:
    """The pictures as PNG files, and how they came about. `timings` are seconds per stage."""

    images: tuple[bytes, ...]
    seeds: tuple[int, ...]
    steps_run: int
    timings: Mapping[str, float]
    device: str
    settings: Mapping[str, Any]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """It ended without a picture. `id` is in the log as well. `elsewhere`: another provider may do
    better, since the request itself was not at fault."""

    code: str
    message: str
    id: str
    elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Somebody asked for that; `why` says who, for people."""

    why: str = "cancelled by the client"


Event: TypeAlias = Queued | Started | Step | Painted | Failed | Cancelled


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How a provider is, as of now. `waiting` of at most `capacity` jobs are in its queue."""

    provider: str
    state: State
    detail: str = ""
    waiting: int = 0
    running: int = 0
    capacity: int = 0


class RefusedError(OverpaintError):
    """A provider does not take a job. `retry_after` is in seconds, where waiting would help."""

    def __init__(self, reason: Reason, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.reason: Reason = reason
        self.retry_after = retry_after


class FrameError(OverpaintError):
    """An engine failed on a frame. `id` is in the log as well."""

    def __init__(self, code: str, message: str, error_id: str) -> None:
        super().__init__(message)
        self.code, self.id = code, error_id


class LiveRun(Protocol):
    """Frames repainted one after the other, between a provider's jobs."""

    def ask(self, order: Order) -> None:
        """What frames become from the next one on: another prompt, strength or LoRAs' weights than
        when it began, and nothing else."""
        ...

    async def repaint(self, latest: Callable[[], bytes]) -> Image.Image:
        """The frame that `latest` gives when its turn has come, a PNG, repainted.

        Raises UsageError for what cannot be run, RefusedError, FrameError. Cancelled, it waits no
        longer for its turn.
        """
        ...


class Provider(Protocol):
    """The five promises, all on the event loop, none of them blocking it; and a life with the
    server, where there is something to begin or to end.

    `name` is how clients are told who has their job. `passes_on`: its jobs leave for another
    server, so that one which came from a server already must not be given to it.
    """

    name: str
    passes_on: bool

    async def capabilities(self) -> tuple[ModelCapabilities, ...]:
        """Its models as of now, the default one first. RefusedError where it cannot tell."""
        ...

    def refusal(self) -> RefusedError | None:
        """What `submit` would raise for any job, as far as that is known without asking."""
        return None

    async def submit(self, order: Order) -> str:
        """Take the job and return its ticket, or raise RefusedError at once."""
        ...

    def progress(self, ticket: str) -> AsyncIterator[Event]:
        """Events up to the last one, which is Painted, Failed or Cancelled. A reader that is
        slower than the engine misses steps, never the end. One reader a ticket."""
        ...

    async def cancel(self, ticket: str, why: Cancelled) -> None:
        """Stop the job within one step; its progress ends with `why`. Unknown tickets are fine."""
        ...

    async def health(self) -> Health: ...

    def begin_live(self, order: Order) -> LiveRun:
        """A run of frames as `order`, whose size and seed are said, has them. Raises RefusedError
        where it has none now."""
        raise RefusedError("no_model", "it repaints nothing live")

    async def start(self) -> None:
        """Get ready for jobs. Raises what keeps it from ever taking one."""
        return

    def drain(self) -> None:
        """Take no more jobs; those that are here go on."""
        return

    async def close(self) -> bool:
        """End what still runs and let go of everything; False where a step did not return."""
        return True
