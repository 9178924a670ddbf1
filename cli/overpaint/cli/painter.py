"""Pictures painted on engines that stay open: in this process, or in each worker of a cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from overpaint.bundle.errors import DiskFullError, ImageError, OutputExistsError, OverpaintError
from overpaint.runtime.default_bundle import bundle_to_open
from overpaint.runtime.image import read
from overpaint.runtime.metadata import read_parameters
from overpaint.runtime.pipeline import Img2Img
from overpaint.runtime.request import HAND_OVER, Refiner, Request
from overpaint.runtime.result import Complete, Result, Step
from overpaint.runtime.settings import Settings
from overpaint.scale.places import is_remote, is_there, open_remote

from .controls import Controls
from .given import Given
from .output import STANDARD, refuse_existing, write
from .progress import progress_bar
from .record import model_name
from .run_options import Options
from .work import Task


@dataclass(frozen=True, slots=True)
class Order:
    """One picture to paint."""

    task: Task
    prompt: str
    settings: Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Painted:
    """What became of an order.

    result: how it was painted, without the images. written: the outputs that it put there. there:
    they were there already. failures: why nothing came of it, or, with its path, of an output.
    """

    result: Result | None = None
    written: tuple[Path, ...] = ()
    there: bool = False
    failures: tuple[tuple[Path | None, OverpaintError], ...] = ()

    @property
    def disk_full(self) -> bool:
        """Whether to paint on would be in vain."""
        return any(isinstance(error, DiskFullError) for _, error in self.failures)


class Painter:
    """Engines, and what every order that they paint has in common."""

    def __init__(self, options: Options, given: Given) -> None:
        """Opens the engines. Raises what opening them raises."""
        self._options, self._given = options, given
        with contextlib.ExitStack() as opened:
            self._pipe = opened.enter_context(_open(options))
            self._refiner = _refiner(options, opened)
            self._opened = opened.pop_all()

    def engines(self) -> dict[str, Any]:
        """Whatever of them decides about the pixels, for a folder run's record."""
        decision, refiner = self._pipe.decision, self._refiner
        return {
            "model": model_name(self._pipe.bundle.manifest),
            "refiner": model_name(refiner.engines.bundle.manifest) if refiner else None,
            "device": decision.chosen.device if decision else None,
            "precision": decision.precision if decision else None,
        }

    def __call__(self, order: Order) -> Painted:
        """Paint, write, and say what became of it. With `skip_existing` only what is missing, or
        was painted from another picture than lies at the order's name now."""
        task, options = order.task, self._options
        try:
            outdated: tuple[Path, ...] = ()
            if options.skip_existing:
                there = tuple(path for path in task.outputs if is_there(path))
                outdated = _outdated(task, there)
                if there == task.outputs and not outdated:
                    return Painted(there=True)
            else:  # another run may have taken a name by now
                for path in task.outputs:
                    refuse_existing(path, force=options.force)
            result = self._compared(_watched(self._pipe.events(self._request(order)), order))
        except OverpaintError as error:
            return Painted(failures=((None, error),))
        return self._write(result, task, outdated)

    def close(self) -> None:
        """Close the engines. May be repeated."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _request(self, order: Order) -> Request:
        options, given = self._options, self._given
        return Request(
            order.task.source,
            order.prompt,
            order.settings,
            refiner=self._refiner,
            mask=given.mask.image if given.mask else None,
            lora={name: choice.weight for name, choice in options.live.items()},
            ip_adapter_image=tuple(one.image for one in given.references),
            ip_adapter_mask=tuple(one.image for one in given.reference_masks),
            reference_image=tuple(one.image for one in given.looked_at),
            control=options.controls.shown,
        )

    def _compared(self, result: Result) -> Result:
        """`result`, with a warning for whatever is another than in the picture that is repeated."""
        if self._options.again is None:
            return result
        differences = self._options.again.differences(result.parameters)
        return replace(result, warnings=(*result.warnings, *differences))

    def _write(self, result: Result, task: Task, outdated: Sequence[Path]) -> Painted:
        """Write every image that can be."""
        written: list[Path] = []
        failures: list[tuple[Path | None, OverpaintError]] = []
        for image, path in zip(result.images, task.outputs, strict=True):
            try:
                write(image, path, force=self._options.force or path in outdated)
            except OutputExistsError as error:
                if not self._options.skip_existing:  # then this run painted it, before or beside us
                    failures.append((path, error))
            except OverpaintError as error:
                failures.append((path, error))
            else:
                written.append(path)
        return Painted(
            result=replace(result, images=()), written=tuple(written), failures=tuple(failures)
        )


def _outdated(task: Task, there: Sequence[Path]) -> tuple[Path, ...]:
    """Those of the paintings that are `there` which are of another picture than the task's.

    Raises ImageError where that picture cannot be read."""
    source = None if task.image == STANDARD else task.source
    if source is None or not there:
        return ()
    picture = read(source).sha256
    return tuple(path for path in there if _painted_from(path) != picture)


def _painted_from(path: Path) -> object:
    """The SHA-256 of the picture that a painting was made of; None where it does not say."""
    try:
        file = open_remote(path) if is_remote(path) else path
        return read_parameters(file).get("image_sha256")
    except (ImageError, OSError):
        return None


def _watched(events: Iterator[Step | Complete], order: Order) -> Result:
    image = order.task.image
    with progress_bar(image.name if image else order.prompt[:40]) as advance:
        for event in events:
            if isinstance(event, Complete):
                return event.result
            advance(event.index, event.total)
    raise AssertionError("a run ends in Complete or an error")


def _open(options: Options) -> Img2Img:
    folder, bundle = options.lora_folder, options.bundle
    if bundle is not None and is_remote(bundle):
        from overpaint.scale.weights import local_copy

        with progress_bar("fetching the bundle", unit="bytes") as advance:
            bundle = local_copy(str(bundle), advance)
    with progress_bar("making a bundle") as advance:
        bundle = bundle_to_open(bundle, options.lora, options.like, advance, lora_folder=folder)
    with progress_bar("checking the bundle", unit="percent") as advance:
        return Img2Img.open(
            bundle,
            ip_adapter=options.ip_adapter,
            tiny_vae=options.tiny_vae,
            upscaler=options.upscaler,
            embedding=options.embedding,
            lora={name: choice.path for name, choice in options.live.items()},
            lora_mode="live",
            lora_folder=folder,
            control=options.controls.folders,
            device=options.device,
            precision=options.precision,
            gpu_memory=options.gpu_memory,
            low_memory=options.low_memory,
            progress=advance,
            comparing=lambda done, total: advance(done, total, "comparing bf16 with f32, once"),
        )


def _refiner(options: Options, opened: contextlib.ExitStack) -> Refiner | None:
    if options.refiner is None:
        return None
    pipe = opened.enter_context(_open(_alone(options, options.refiner)))
    return Refiner(pipe.engines, HAND_OVER if options.hand_over is None else options.hand_over)


def _alone(options: Options, bundle: Path) -> Options:
    """Those of a refiner, which runs as it is."""
    return replace(
        options,
        bundle=bundle,
        lora=(),
        live={},
        lora_folder=None,
        like=None,
        embedding={},
        upscaler=None,
        controls=Controls(shown={}),
    )
