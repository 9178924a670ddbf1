"""What other servers' clients mean by a mask -> grey, white where it is repainted.

Pictures are RGB, or RGBA where they have transparency. The native API's own masks need none of it:
they mean what they mean to the runtime (`overpaint.runtime.masks.read`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias

from PIL import Image

from overpaint.bundle.errors import ImageError

Repainted: TypeAlias = Literal["transparent", "opaque"]


def transparent(image: Image.Image) -> Image.Image:
    """OpenAI's: what is fully transparent is repainted. Raises ImageError without transparency."""
    if image.mode != "RGBA":
        raise ImageError("mask: expected a PNG that is transparent where it is to be repainted")
    return image.getchannel("A").point(lambda alpha: 0 if alpha else 255)


def opaque(image: Image.Image) -> Image.Image:
    """AUTOMATIC1111's: what is more than half opaque is repainted; without any transparency the
    picture itself says it, in grey."""
    if image.mode != "RGBA" or image.getchannel("A").getextrema() == (255, 255):
        return image.convert("L")
    return image.getchannel("A").point(lambda alpha: 255 if alpha > 128 else 0)


MASKS: Final[Mapping[str, Callable[[Image.Image], Image.Image]]] = {
    "transparent": transparent,
    "opaque": opaque,
}
"""By what is repainted."""
