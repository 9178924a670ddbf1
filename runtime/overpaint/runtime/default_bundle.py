"""The bundle that is meant where none is named: the model inside the installed package."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from overpaint.engines.errors import BundleError

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
