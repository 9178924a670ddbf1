"""The bundle that is meant: the named one, the embedded model, or one made of a checkpoint."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from overpaint.bundle import layout
from overpaint.bundle.errors import BundleError
from overpaint.bundle.files.looking import is_file

from .lora.find import lora_file

EMBEDDED: Final = Path(__file__).parent / "embedded"


def bundle_or_default(bundle: str | os.PathLike[str] | None) -> Path:
    """`bundle`, or the embedded model. BundleError where this installation has none."""
    if bundle is not None:
        return Path(bundle)
    if not EMBEDDED.is_dir():
        raise BundleError(
            "no bundle was named, and this installation carries no embedded model; name a bundle "
            "(--bundle BUNDLE, Img2Img.open(BUNDLE)), or make one with overpaint export"
        )
    return EMBEDDED


def bundle_to_open(
    bundle: str | os.PathLike[str] | None,
    lora: Sequence[str] = (),
    like: str | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    *,
    lora_folder: Path | None = None,
) -> Path:
    """The folder of `bundle`; a checkpoint is imported, and LoRAs are fused, in the user's cache.

    `lora`: each FILE or FILE:WEIGHT, FILE also the name of one in `lora_folder`. `like`: what a
    single file is, where it does not tell.
    `progress`: called with (done, in all, what comes next) while a bundle is made.

    Raises BundleError, CheckpointError, UsageError.
    """
    folder = bundle_or_default(bundle)
    if not lora and not like and is_file(folder / layout.MANIFEST):
        return folder
    from overpaint.bundle.importing import LoraChoice  # seldom needed, and not for nothing
    from overpaint.bundle.importing.cache import ready_bundle
    from overpaint.engines.onnxruntime.cpu.decode import decode

    embedded = folder == EMBEDDED
    choices = [
        replace(choice, path=lora_file(choice.path, lora_folder, embedded=embedded))
        for choice in map(LoraChoice.parse, lora)
    ]
    return ready_bundle(folder, loras=choices, like=like, decode=decode, progress=progress)
