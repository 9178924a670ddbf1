"""A bundle, opened with control networks beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from overpaint.bundle.control.extend import controlled
from overpaint.bundle.control.open import ControlBundle, open_controlnet
from overpaint.bundle.errors import UsageError
from overpaint.bundle.files.hashing import Progress
from overpaint.bundle.files.looking import is_folder
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.open import open_bundle

EMBEDDED_NETWORKS: Final = Path(__file__).parent.parent / "embedded_control"


def with_control(
    bundle: Bundle, folders: Sequence[str | os.PathLike[str]], progress: Progress | None = None
) -> Bundle:
    """`bundle` with the control networks in `folders`, each called by its folder's name; `bundle`
    itself where there are none.

    Raises:
        UsageError: two are called alike, or one is for other denoisers.
        BundleError: a folder is no control network's bundle.
    """
    networks: dict[str, ControlBundle] = {}
    for folder in map(network_folder, folders):
        name = network_name(folder)
        if name in networks:
            raise UsageError(f"control: two networks are called {name}; rename one's folder")
        networks[name] = open_controlnet(folder, progress)
    if not networks:
        return bundle
    return open_bundle(controlled(bundle, networks, progress), progress=progress)


def network_folder(named: str | os.PathLike[str]) -> Path:
    """The folder that is meant: a name that is no path may be one of the embedded model's own."""
    folder = Path(named)
    own = EMBEDDED_NETWORKS / folder.name
    return own if folder.parent == Path() and not is_folder(folder) and is_folder(own) else folder


def network_name(folder: str | os.PathLike[str]) -> str:
    """What a control network is called: as its folder."""
    return Path(folder).resolve().name
