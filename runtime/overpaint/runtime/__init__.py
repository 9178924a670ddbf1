"""Image-to-image on NumPy: image, text, noise, schedule, guidance, loop. It sees sessions only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .control.control import Control
    from .image import ImageLike
    from .pipeline import Img2Img
    from .request import Refiner, Request
    from .result import Complete, Result, Step
    from .settings import Settings
    from .warming import warm_up

__all__ = [
    "Complete",
    "Control",
    "ImageLike",
    "Img2Img",
    "Refiner",
    "Request",
    "Result",
    "Settings",
    "Step",
    "warm_up",
]

_HOMES = {
    "Complete": "result",
    "Control": "control.control",
    "ImageLike": "image",
    "Img2Img": "pipeline",
    "Refiner": "request",
    "Request": "request",
    "Result": "result",
    "Settings": "settings",
    "Step": "result",
    "warm_up": "warming",
}


def __getattr__(name: str) -> Any:
    """Imported on first use: `overpaint --help` need not wait for NumPy and Pillow."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
