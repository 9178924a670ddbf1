"""What of a prompt has no effect, though whoever typed it thinks that it has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from .default_bundle import EMBEDDED
from .engines import Engines
from .prepare import Job
from .text.lora_tags import without_tags

_WEIGHTS: Final = re.compile(r"\([^()]+:\s*\d*\.?\d+\s*\)|\[[^\[\]]+\]|\bBREAK\b|<lora:[^<>]+>")


def prompt_warnings(engines: Engines, job: Job) -> Iterator[str]:
    """Weights that are not read, a negative prompt that has no say, words that are not known."""
    settings = job.resolved.settings
    negative = settings.negative_prompt or ""
    typed = _WEIGHTS.search(f"{job.prompt}\n{negative}")
    if typed and not settings.prompt_weights:
        yield f"prompt: {typed[0]!r} is read as it stands; prompt_weights reads it as a weight"
    if negative and not job.guided:
        if engines.bundle.manifest.takes_guidance:
            why = "this denoiser is told the guidance scale; give true_cfg_scale, above 1"
        else:
            why = f"guidance_scale is {job.resolved.guidance_scale:g}; give one above 1"
        yield f"negative_prompt: it has no say: {why}"
    if engines.bundle.folder == EMBEDDED:  # whose vocabulary is closed: it knows words whole
        [encoder] = engines.bundle.manifest.text.encoders
        prompt = without_tags(job.prompt) if settings.prompt_weights else job.prompt
        heard = f"{prompt} {negative if job.guided else ''}"
        if unknown := engines.text.in_pieces(encoder, heard):
            yield (
                f"prompt: the embedded model does not know {', '.join(unknown)}; docs/pocket.md "
                "has what it knows"
            )
