"""What `overpaint live` does: frames in, repainted frames out, and how fast that went."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import typer
from PIL import Image

from overpaint.bundle.errors import ImageError
from overpaint.runtime.default_bundle import bundle_to_open
from overpaint.runtime.live.live import Live
from overpaint.runtime.pipeline import Img2Img
from overpaint.runtime.settings import Settings

from .frames_in import Frames, frames_of
from .frames_out import frames_to
from .json_output import echo_json
from .progress import progress_bar


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """What is asked for. `rate`: frames a second of `output`; None, the source's."""

    source: str
    prompt: str
    output: Path
    settings: Settings
    similar: float | None
    residual_guidance: float
    ahead: int
    rate: float | None
    force: bool
    json: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """How it went; times in seconds. `latency_p50`, `latency_p99`: from in to out."""

    output: str
    frames: int
    similar: int
    seconds: float
    frames_per_second: float
    latency_p50: float
    latency_p99: float


def play(
    asked: Play,
    *,
    bundle: Path | None,
    lora: tuple[str, ...],
    like: str | None,
    tiny_vae: Path | None,
    device: str,
    precision: str,
) -> None:
    """Source and output are opened first: what can be refused is refused before an engine is."""
    with contextlib.ExitStack() as opened:
        frames = opened.enter_context(frames_of(asked.source))
        rate = asked.rate or frames.rate
        show = opened.enter_context(frames_to(asked.output, rate, force=asked.force))
        with progress_bar("making a bundle") as advance:
            folder = bundle_to_open(bundle, lora, like, advance)
        pipe = opened.enter_context(
            Img2Img.open(folder, tiny_vae=tiny_vae, device=device, precision=precision)
        )
        live = pipe.live(
            asked.prompt,
            similar=asked.similar,
            residual_guidance=asked.residual_guidance,
            **asdict(asked.settings),
        )
        began = perf_counter()
        for shown in _shown(live, frames, asked.source, asked.ahead):
            show(shown)
        played = _played(live, asked.output, perf_counter() - began)
    if not played.frames:
        raise ImageError(f"{asked.source}: expected frames, found none")
    _tell(played, asked.json)


def _shown(live: Live, frames: Frames, source: str, ahead: int) -> Iterator[Image.Image]:
    """Each frame, repainted, with a bar; Ctrl-C is how what has no end ends."""
    with progress_bar(Path(source).name) as advance:
        try:
            for done, shown in enumerate(live.over(frames.pictures, ahead=ahead), 1):
                yield shown
                if frames.total is not None:
                    advance(done, frames.total)
        except KeyboardInterrupt:
            if not frames.endless:
                raise


def _played(live: Live, output: Path, seconds: float) -> Played:
    pace = live.pace
    return Played(
        output=str(output),
        frames=pace.frames,
        similar=pace.similar,
        seconds=seconds,
        frames_per_second=pace.frames / seconds,
        latency_p50=pace.percentile(50),
        latency_p99=pace.percentile(99),
    )


def _tell(played: Played, json: bool) -> None:
    if json:
        echo_json(played)
        return
    similar = f", {played.similar} shown as the one before" if played.similar else ""
    typer.echo(
        f"{played.output}  {played.frames} frames{similar}, "
        f"{played.frames_per_second:.1f} a second, each {played.latency_p50 * 1e3:.0f} ms from in "
        f"to out ({played.latency_p99 * 1e3:.0f} at p99)"
    )
