"""A live run on a model of this process: its frames take turns with the model's jobs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from PIL import Image

from overpaint.runtime.live.live import Live
from overpaint.runtime.settings import options
from overpaint.serve.jobs.protocol import LiveRun, Order

from .worker import Pipeline

Paint: TypeAlias = Callable[[Pipeline], Image.Image]
Turn: TypeAlias = Callable[[int, Callable[[], Paint]], Awaitable[Image.Image]]
"""Waits for the engine: given a frame's pixels and what begins it, the picture."""


class LocalLive(LiveRun):
    """The runtime's live run, begun anew where its engine was closed in between."""

    def __init__(self, order: Order, turn: Turn) -> None:
        """`order` has no image, and a size."""
        self._order, self._turn = order, turn
        self._live: Live | None = None
        self._pipeline: Pipeline | None = None

    def ask(self, order: Order) -> None:
        self._order = order

    async def repaint(self, latest: Callable[[], bytes]) -> Image.Image:
        def begin() -> Paint:
            order, frame = self._order, latest()
            return lambda pipeline: self._paint(pipeline, order, frame)

        return await self._turn(self._order.pixels, begin)

    def _paint(self, pipeline: Pipeline, order: Order, frame: bytes) -> Image.Image:
        """In the engine's thread."""
        live, settings = self._live, order.settings
        if live is None or pipeline is not self._pipeline:
            said: Any = {name: getattr(settings, name) for name in options()}
            live = self._live = pipeline.live(order.prompt, lora=order.lora, **said)
            self._pipeline = pipeline
        if order.prompt != live.prompt:
            live.prompt = order.prompt
        if settings.strength is not None and settings.strength != live.strength:
            live.strength = settings.strength
        if order.lora != live.lora:
            live.lora = order.lora
        return live(frame)
