"""The part of a picture that is repainted alone, at full resolution."""

from __future__ import annotations

from PIL import Image

from overpaint.runtime.image import Box


def region(mask: Image.Image, size: tuple[int, int], padding: int) -> Box:
    """The box around what `mask` (L) lets change, `padding` pixels wider on each side, and widened
    to the proportions of `size` (width, height) as far as the picture goes. The whole picture
    where the mask is empty.

    Source: diffusers' `padding_mask_crop`; AUTOMATIC1111's "only masked".
    """
    box = mask.getbbox()
    if box is None:
        return (0, 0, *mask.size)
    left, top, right, bottom = box
    left, right = max(left - padding, 0), min(right + padding, mask.width)
    top, bottom = max(top - padding, 0), min(bottom + padding, mask.height)
    aspect = size[0] / size[1]
    left, right = _widened(left, right, (bottom - top) * aspect, mask.width)
    top, bottom = _widened(top, bottom, (right - left) / aspect, mask.height)
    return left, top, right, bottom


def _widened(low: int, high: int, length: float, limit: int) -> tuple[int, int]:
    """From `low` to `high`, made `length` long around its middle, within 0 to `limit`."""
    whole = min(max(round(length), high - low), limit)
    start = min(max(low - (whole - (high - low)) // 2, 0), limit - whole)
    return start, start + whole
