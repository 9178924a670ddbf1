"""A live run, as its caller holds it.

with pipe.live("winter mountains at night", strength=0.5, steps=2) as live:
    for out in live.over(frames):
        out.show()
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from overpaint.bundle.errors import UsageError
from overpaint.engines.session.closing import Closing
from overpaint.runtime.engines import Engines
from overpaint.runtime.image import ImageLike, read
from overpaint.runtime.request import Request

from .frame import decode, encode, framed, repaint
from .line import AHEAD, over
from .scene import Scene, scene

REMEMBERED: Final = 4096
"""Frames whose latency is."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How it has gone: frames that came out, those among them that were not repainted because they
    were like the one before, and the last frames' seconds from in to out."""

    frames: int
    similar: int
    seconds: tuple[float, ...]

    def percentile(self, share: float) -> float:
        """The seconds that `share` percent of the frames took at most."""
        return float(np.percentile(self.seconds, share)) if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class _Frame:
    """On its way. `state`: what the last stage made of it. `similar`: to the frame before, whose
    picture stands for it."""

    scene: Scene
    entered: float
    state: Any
    similar: bool = False


class Live(Closing):
    """A function from frame to repainted frame. Prompt, strength and lora may be set at any time;
    the next frame has them.

    Frames have one size, the first one's (or the `size` that was asked for); others are brought to
    it as `resize` says. One thread at a time calls it, or goes through what `over` gives.
    """

    def __init__(
        self,
        engines: Callable[[Request], Engines],
        request: Request,
        *,
        similar: float | None,
        residual_guidance: float,
    ) -> None:
        """Prefer `Img2Img.live`. `engines`: those that a request is run by. `request`: all that is
        asked for; its picture is not looked at."""
        self._engines, self._request, self._similar = engines, request, similar
        self._residual_guidance = residual_guidance
        self._scene: Scene | None = None
        self._setting = threading.Lock()
        self._repainted: tuple[Scene, npt.NDArray[np.int16]] | None = None
        self._last_shown: Image.Image | None = None
        self._frames = self._repeated = 0
        self._seconds: deque[float] = deque(maxlen=REMEMBERED)
        self._closed = False

    @property
    def prompt(self) -> str:
        """What frames are repainted as."""
        return self._request.prompt

    @prompt.setter
    def prompt(self, prompt: str) -> None:
        self._ask(replace(self._request, prompt=prompt))

    @property
    def strength(self) -> float | None:
        """How much of a frame is repainted, 0 to 1."""
        return self._request.settings.strength

    @strength.setter
    def strength(self, strength: float) -> None:
        settings = replace(self._request.settings, strength=strength, reference_strength=None)
        self._ask(replace(self._request, settings=settings))

    @property
    def lora(self) -> Mapping[str, float]:
        """The weights of LoRAs that are open, by name, as a call takes them."""
        return self._request.lora

    @lora.setter
    def lora(self, weights: Mapping[str, float]) -> None:
        self._ask(replace(self._request, lora=dict(weights)))

    @property
    def pace(self) -> Pace:
        """How it has gone until now."""
        return Pace(self._frames, self._repeated, tuple(self._seconds))

    def __call__(self, frame: ImageLike) -> Image.Image:
        """`frame`, repainted: the picture that a call of the pipeline makes of it.

        Raises UsageError, ImageError, SessionError.
        """
        [shown] = self.over([frame], ahead=1)
        return shown

    def over(self, frames: Iterable[ImageLike], *, ahead: int = AHEAD) -> Iterator[Image.Image]:
        """Each of `frames` repainted, in order, each stage on a thread of its own: reading and
        encoding, the denoiser, decoding.

        ahead: frames that are under way at once. 1: each comes out before the next is taken, the
        least latency. 2: while one is decoded the next is in the denoiser. 3: and the one after
        that is encoded, the most frames a second where an engine leaves the machine idle.

        Raises UsageError for less than 1; else as a call does, where the frame that it happened to
        would have come out.
        """
        if ahead < 1:
            raise UsageError(f"ahead: expected 1 or more frames under way, got {ahead}")
        with self._engines(self._request).alone():
            yield from over(frames, (self._enter, self._repaint, self._leave), ahead=ahead)

    def close(self) -> None:
        """End it; the pipeline stays open. May be repeated."""
        self._closed = True

    def _ask(self, request: Request) -> None:
        with self._setting:
            self._request, self._scene = request, None

    def _scene_for(self, picture: Image.Image) -> Scene:
        with self._setting:
            if self._scene is None:
                request = replace(self._request, image=picture)
                engines = self._engines(request)
                self._scene = scene(engines, request, self._residual_guidance)
                # The size is the first frame's from now on.
                settings = replace(self._request.settings, size=self._scene.job.size)
                self._request = replace(self._request, settings=settings)
            return self._scene

    def _enter(self, source: ImageLike) -> _Frame:
        if self._closed:
            raise UsageError("this live run is closed")
        entered = perf_counter()
        picture = read(source).image
        now = self._scene_for(picture)
        canvas = framed(now, picture)
        if self._is_similar(canvas, now):
            return _Frame(now, entered, None, similar=True)
        return _Frame(now, entered, encode(now, canvas))

    def _is_similar(self, canvas: Image.Image, now: Scene) -> bool:
        """Whether a frame is like the last one that was repainted, in the same scene."""
        if self._similar is None:
            return False
        seen = np.asarray(canvas, np.int16)
        before, self._repainted = self._repainted, (now, seen)
        if before is None or before[0] is not now:
            return False
        if np.abs(seen - before[1]).mean() > self._similar:
            return False
        self._repainted = before
        return True

    def _repaint(self, frame: _Frame) -> _Frame:
        return frame if frame.similar else replace(frame, state=repaint(frame.scene, frame.state))

    def _leave(self, frame: _Frame) -> Image.Image:
        if not frame.similar:
            self._last_shown = decode(frame.scene, frame.state)
        assert self._last_shown is not None
        self._frames += 1
        self._repeated += frame.similar
        self._seconds.append(perf_counter() - frame.entered)
        return self._last_shown
