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
