"""Pictures in rows and columns, each row and column with its label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from PIL import Image, ImageDraw, ImageFont

GAP: Final = 6
_INK: Final = (30, 30, 30)


def sheet(
    rows: Sequence[Sequence[Image.Image]], across: Sequence[str], down: Sequence[str]
) -> Image.Image:
    """An RGB picture of `rows`, labelled `across` above its columns and `down` left of its rows; an
    empty list is no label. A cell is as large as the largest picture."""
    width = max(one.width for row in rows for one in row)
    height = max(one.height for row in rows for one in row)
    font = ImageFont.load_default(max(12, min(width, height) // 16))
    above = _lines(font) + 2 * GAP if across else 0
    left = max((round(font.getlength(text)) for text in down), default=-2 * GAP) + 2 * GAP
    size = left + len(rows[0]) * (width + GAP) + GAP, above + len(rows) * (height + GAP) + GAP
    made = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(made)
    for column, text in enumerate(across):
        middle = left + GAP + column * (width + GAP) + width // 2
        draw.text((middle, above // 2 + GAP // 2), text, _INK, font, anchor="mm")
    for at, row in enumerate(rows):
        top = above + GAP + at * (height + GAP)
        if down:
            draw.text((left - GAP, top + height // 2), down[at], _INK, font, anchor="rm")
        for column, picture in enumerate(row):
            made.paste(picture, (left + GAP + column * (width + GAP), top))
    return made


def _lines(font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
    _, top, _, bottom = font.getbbox("Ag")
    return round(bottom - top)
