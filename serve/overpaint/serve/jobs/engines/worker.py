"""One job on one pipeline, in the engine's own thread; and the files made of its pictures."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Mapping
from threading import Event as Flag
from typing import Any, Protocol, Unpack

from PIL import Image

from overpaint.runtime.live.live import Live
from overpaint.runtime.request import Request
from overpaint.runtime.result import Complete, Result
from overpaint.runtime.result import Step as EngineStep
from overpaint.runtime.settings import Options
from overpaint.serve.jobs.protocol import Order, Painted, Step

PREVIEW_SECONDS = 0.1
PREVIEW_SIDE = 256


class Pipeline(Protocol):
    """What is needed of `Img2Img`."""

    def events(self, request: Request, cancel: Flag) -> Iterator[EngineStep | Complete]: ...

    def live(
        self,
        prompt: str,
        *,
        lora: Mapping[str, float] | None = None,
        **options: Unpack[Options],
    ) -> Live: ...

    def wait(self) -> Any: ...

    def close(self) -> None: ...


def repaint(pipeline: Pipeline, order: Order, stop: Flag, tell: Callable[[Step], None]) -> Result:
    """Run `order` to its end, telling each step. Once `stop` is set the run ends within a step
    and before the decoder, with CancelledError. Previews are made ten times a second at most."""
    preview: bytes | None = None
    shown = -PREVIEW_SECONDS
    request = Request(
        order.image,
        order.prompt,
        order.settings,
        mask=order.mask,
        lora=order.lora,
        ip_adapter_image=order.ip_adapter_image,
        ip_adapter_mask=order.ip_adapter_mask,
        reference_image=order.reference_image,
        control=order.control,
    )
    for event in pipeline.events(request, stop):
        if isinstance(event, Complete):
            return event.result
        if time.monotonic() - shown >= PREVIEW_SECONDS:
            preview, shown = _jpeg(event.preview()), time.monotonic()
        tell(Step(event.index, event.total, preview))
    raise AssertionError("a run ends in Complete or an error")


def as_files(result: Result) -> Painted:
    """The pictures of `result` as PNG files that carry their parameters.

    Compression costs time and saves little on pictures like these: level 3 halves the time of
    zlib's default for a few per cent of size.
    """
    timings = result.timings
    return Painted(
        images=tuple(_png(image) for image in result.images),
        seeds=result.seeds,
        steps_run=result.steps_run,
        timings={
            name: round(getattr(timings, name), 6)
            for name in ("load", "read", "text", "encode", "denoise", "decode", "total")
        },
        device=result.device,
        settings=result.parameters.as_dict(),
        warnings=result.warnings,
    )


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=3)
    return file.getvalue()


def _jpeg(image: Image.Image) -> bytes:
    """Latent cells are few: enlarge them here, so that every client may simply show it."""
    scale = PREVIEW_SIDE / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    file = io.BytesIO()
    image.resize(size, Image.Resampling.BILINEAR).save(file, "JPEG", quality=70)
    return file.getvalue()
