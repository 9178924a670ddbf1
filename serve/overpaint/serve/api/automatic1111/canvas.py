"""What AUTOMATIC1111 pastes on: the picture as it was brought to the size that is asked for."""

from __future__ import annotations

import io
from dataclasses import replace

from PIL import Image

from overpaint.runtime.image import place, read
from overpaint.runtime.masks.read import read_mask
from overpaint.serve.jobs.protocol import Order


def brought_to_size(order: Order) -> Order:
    """A masked `order` whose picture and mask have the size that it asks for: what its mask keeps
    is kept of those. Blocks. "Only masked" (mask_padding) keeps the picture's own size, as there.
    """
    if order.image is None or order.mask is None or order.settings.mask_padding is not None:
        return order
    return replace(
        order,
        image=_canvas(read(order.image).image, order),
        mask=_canvas(read_mask(order.mask).image, order),
    )


def _canvas(image: Image.Image, order: Order) -> bytes:
    file = io.BytesIO()
    placement = place(image.size, order.size, order.settings.resize)
    placement.canvas(image).save(file, "PNG", compress_level=1)
    return file.getvalue()
