"""`overpaint run --repeat`: what a painted picture says of itself, as what is asked for again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from overpaint.bundle.errors import UsageError
from overpaint.runtime.control.control import Control
from overpaint.runtime.metadata import Parameters, read_parameters
from overpaint.runtime.settings import Settings, options

from .controls import Controls

_ELSEWHERE: Final = ("mode", "preset", "passed_over")
"""What they brought is said by strength, steps and guidance_scale; or it changes no pixel."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """The parameters in the PNG at `path`."""

    path: Path
    said: dict[str, Any]

    @classmethod
    def of(cls, path: Path) -> Repeat:
        """Raises ImageError where it carries none."""
        return cls(path, read_parameters(path))

    @property
    def text_to_image(self) -> bool:
        return self.said.get("strength") is None

    @property
    def hand_over(self) -> float | None:
        return self.said.get("hand_over")

    def arguments(self, images: list[str]) -> list[str]:
        """IMAGE and PROMPT, as they are typed. Raises UsageError where the picture is missing."""
        wanted = 0 if self.text_to_image else 1
        if len(images) != wanted:
            what = "the one picture that was painted over" if wanted else "none: none was there"
            raise UsageError(f"--repeat: expected as IMAGE {what}; got {len(images)}")
        return [*images, str(self.said.get("prompt", ""))]

    def check_mask(self, mask: Path | None) -> None:
        """Raise UsageError where the mask is missing, or there was none."""
        painted = self.said.get("mask_sha256") is not None
        if painted and mask is None:
            raise UsageError(f"--repeat: {self.path} was painted with a mask; name it with --mask")
        if mask is not None and not painted:
            raise UsageError(f"--mask: {self.path} was painted without one; leave it out")

    def check_references(self, option: str, pictures: list[Path]) -> None:
        """Raise UsageError where one of an option's pictures is missing, or there were fewer."""
        painted = len(self.said.get(f"{option}_sha256") or ())
        if painted != len(pictures):
            raise UsageError(
                f"--repeat: {self.path} was painted with {painted} reference pictures, and "
                f"{len(pictures)} are named with --{option.replace('_', '-')}"
            )

    def controls(self, given: Controls) -> Controls:
        """Those that are `given`, as they were shown then. Raises UsageError for others."""
        told = {one["name"]: one for one in self.said.get("control") or ()}
        if set(told) != set(given.shown):
            wanted = ", ".join(told) or "none"
            raise UsageError(
                f"--repeat: {self.path} was painted with these control networks: {wanted}; name "
                "them with --control, and no other"
            )
        numbers = ("scale", "start", "end", "preprocessor", "kind")
        shown = {
            name: Control(one.picture, **{key: told[name][key] for key in numbers})
            for name, one in given.shown.items()
        }
        return replace(given, shown=shown)

    def settings(self, asked: Settings) -> Settings:
        """Those that were run. Raises UsageError where others are `asked` for."""
        if asked != Settings():
            raise UsageError(f"--repeat: {self.path} says how it is painted; leave options out")
        run: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in self.said.items()
            if name in options() and name not in _ELSEWHERE and value is not None
        }
        if "denoising_start" in run:
            del run["strength"]  # it had no say
        return Settings(**run)

    def differences(self, now: Parameters) -> Iterator[str]:
        """What is another than it was: with it, the pixels may be others."""
        for name, value in now.as_record().items():
            if name not in _ELSEWHERE and self.said.get(name) != value:
                yield (
                    f"--repeat: {self.path} was painted with {name} {self.said.get(name)!r}, this "
                    f"with {value!r}: the pixels may differ"
                )
