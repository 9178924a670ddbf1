"""Sizes as people write them."""

from __future__ import annotations

import re

from overpaint.bundle.errors import UsageError


def parse_size(text: str) -> tuple[int, int]:
    """ "512x384" -> (512, 384): width, then height."""
    match = re.fullmatch(r"(\d{1,6})[xX×](\d{1,6})", text.strip())
    if match is None:
        raise UsageError(f"size: expected WIDTHxHEIGHT, for example 512x384, got {text!r}")
    return int(match[1]), int(match[2])


def parse_numbers(text: str) -> float | tuple[float, ...]:
    """ "0.6" -> 0.6, "0.6,0.3" -> (0.6, 0.3)."""
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"expected a number, or several as in 0.6,0.3, got {text!r}") from None
    return numbers if len(numbers) > 1 else numbers[0]


def parse_seeds(text: str) -> tuple[int, ...]:
    """ "1,5,9" -> (1, 5, 9)."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise UsageError(f"seeds: expected whole numbers, as in 1,5,9, got {text!r}")
    return tuple(map(int, parts))


def parse_margins(text: str) -> tuple[int, int, int, int]:
    """ "128,0,0,64" -> (128, 0, 0, 64): left, top, right, bottom."""
    match = re.fullmatch(r"(\d{1,6}),(\d{1,6}),(\d{1,6}),(\d{1,6})", text.replace(" ", ""))
    if match is None:
        raise UsageError(f"extend: expected LEFT,TOP,RIGHT,BOTTOM, as in 128,0,0,0, got {text!r}")
    left, top, right, bottom = map(int, match.groups())
    return left, top, right, bottom
