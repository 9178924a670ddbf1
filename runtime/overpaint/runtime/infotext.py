"""What a picture says of how it was made: our own parameters, or AUTOMATIC1111's lines."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from PIL import Image, UnidentifiedImageError

from overpaint.bundle.errors import ImageError

from .choices import LATENTS, SIGMAS
from .metadata import A1111_LATENT, A1111_SAMPLERS, CHUNK, INFOTEXT
from .settings import options

_EXIF_IFD: Final = 0x8769
_USER_COMMENT: Final = 0x9286
_FIELD: Final = re.compile(r'([\w ./]{1,60}):\s*("(?:\\.|[^"\\])*"|[^,]*)(?:,|$)')
_NEGATIVE: Final = "Negative prompt:"
_SIZE: Final = re.compile(r"(\d+)x(\d+)")


@dataclass(frozen=True, slots=True)
class Said:
    """`prompt`; `settings` that are options of a run, by name; `other`: whatever else is said.
    `by`: who says so, "overpaint" or "AUTOMATIC1111"."""

    by: str
    prompt: str
    settings: Mapping[str, Any]
    other: Mapping[str, Any] = field(default_factory=dict)


def read_said(path: str | Path) -> Said:
    """What the PNG, JPEG or WEBP at `path` says. Raises ImageError where it says nothing."""
    try:
        with Image.open(path, formats=("PNG", "JPEG", "WEBP")) as image:
            texts = {str(key): text for key, text in image.info.items() if isinstance(text, str)}
            comment = image.getexif().get_ifd(_EXIF_IFD).get(_USER_COMMENT)
    except UnidentifiedImageError:
        raise ImageError(f"{path}: expected a PNG, JPEG or WEBP picture") from None
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from None
    if isinstance(comment, bytes) and comment.startswith(b"UNICODE\0"):
        texts.setdefault(INFOTEXT, comment[8:].decode("utf-16-be", "replace"))
    said = said_in(texts)
    if said is None:
        raise ImageError(f"{path}: says nothing of how it was made")
    return said


def said_in(texts: Mapping[str, str]) -> Said | None:
    """What a picture's texts, by their keywords, say; None where that is nothing."""
    try:
        ours = json.loads(texts.get(CHUNK, "null"))
    except (ValueError, RecursionError):
        ours = None
    if isinstance(ours, dict):
        prompt = str(ours.pop("prompt", ""))
        known = {name: ours.pop(name) for name in options() if name in ours}
        asked = {name: value for name, value in known.items() if value is not None}
        return Said("overpaint", prompt, asked, ours)
    return parse(texts[INFOTEXT]) if texts.get(INFOTEXT) else None


def parse(infotext: str) -> Said:
    """AUTOMATIC1111's lines: the prompt, the negative prompt, and the fields. Never raises: what is
    not understood is `other`."""
    *prompts, last = infotext.strip().split("\n")
    found = {name.strip(): _unquoted(value) for name, value in _FIELD.findall(last)}
    if "Steps" not in found:  # as there, a line without them is the prompt's
        prompts, found = [*prompts, last], {}
    text = "\n".join(prompts)
    prompt, mark, negative = text.partition(_NEGATIVE)
    settings: dict[str, Any] = {"negative_prompt": negative.strip()} if mark else {}
    for name, (option, read) in _FIELDS.items():
        value = read(found[name]) if name in found else None
        if value is not None:
            settings[option] = value
            del found[name]
    plain, _, last_word = settings.get("sampler", "").rpartition(" ")
    if last_word in SIGMAS:  # "DPM++ 2M Karras", as it was written before 1.9
        settings |= {"sampler": plain, "sigmas": last_word}
    if "upscale" in settings and "strength" in settings:  # the second pass's; words have none
        settings["upscale_strength"] = settings.pop("strength")
    if found and not str(found.get("Version", "")).startswith("overpaint"):
        settings["prompt_weights"] = True  # there (word:1.2) always is a weight
    return Said("AUTOMATIC1111", prompt.strip(), settings, found)


def _unquoted(value: str) -> str:
    try:
        return str(json.loads(value)) if value.startswith('"') else value.strip()
    except ValueError:
        return value


def _number(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            number = kind(text)
        except ValueError:
            return None
        return number if math.isfinite(number) else None

    return read


def _sampler(text: str) -> str | None:
    known = {label.lower(): name for name, label in A1111_SAMPLERS.items()}
    name = text.lower()
    if name in known or name in A1111_SAMPLERS or name == "flow-euler":
        return known.get(name, name)
    plain, _, sigmas = name.rpartition(" ")
    return f"{known[plain]} {sigmas}" if plain in known and sigmas in SIGMAS else None


def _sigmas(text: str) -> str | None:
    return text.lower() if text.lower() in SIGMAS else None


def _size(text: str) -> tuple[int, int] | None:
    match = _SIZE.fullmatch(text)
    return (int(match[1]), int(match[2])) if match else None


def _clip_skip(text: str) -> int | None:
    return int(text) - 1 if text.isdecimal() else None


def _upscaler(text: str) -> str | None:
    return LATENTS if text == A1111_LATENT else None


_FIELDS: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "Steps": ("steps", _number(int)),
    "Sampler": ("sampler", _sampler),
    "Schedule type": ("sigmas", _sigmas),
    "CFG scale": ("guidance_scale", _number(float)),
    "Seed": ("seed", _number(int)),
    "Variation seed": ("variation_seed", _number(int)),
    "Variation seed strength": ("variation_strength", _number(float)),
    "Size": ("size", _size),
    "Denoising strength": ("strength", _number(float)),
    "Clip skip": ("clip_skip", _clip_skip),
    "Eta": ("eta", _number(float)),
    "Hires upscale": ("upscale", _number(float)),
    "Hires steps": ("upscale_steps", _number(int)),
    "Hires upscaler": ("resize", _upscaler),
}
