"""A bundle whose graphs can do more than those it was made of, in the user's cache.

    folder = extended(bundle, "lora", [sha256], edit)

Weights are linked, not copied; graphs are edited on the host, and what is new lies beside them. So
whatever opens a bundle opens this one: engines, `overpaint info`, `overpaint build`. It is made
once, and found again by the base's manifest and its own key; deleting it costs the time to make it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from overpaint.bundle import layout
from overpaint.bundle.checkpoint.link import place
from overpaint.bundle.errors import BundleError, OutputExistsError, UsageError
from overpaint.bundle.files.hashing import Progress
from overpaint.bundle.files.user_folders import cache_folder
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.manifest import Manifest
from overpaint.bundle.format.write import finish_bundle, new_bundle

Edit: TypeAlias = Callable[[Path, Manifest], Manifest]
"""(folder with the base's files, its manifest) -> the manifest of what was made of them. Files may
be links to the base's: replace them, never write into them."""


def extended(
    bundle: Bundle,
    name: str,
    key: Sequence[str],
    edit: Edit,
    progress: Progress | None = None,
) -> Path:
    """The folder of `bundle` as `edit` makes it; `name` and `key` tell it from other extensions.

    Plans are left out: they are of the graphs before.

    Raises:
        BundleError: `bundle` has no manifest.
        UsageError: there is no cache folder to make it in.
    """
    if bundle.inferred:
        raise BundleError(
            f"{bundle.folder}: it has no manifest to tell its weights apart; what overpaint export "
            "or overpaint import made can be extended"
        )
    target = _target(bundle, name, key)
    if target.is_dir():
        return target
    try:
        with new_bundle(target) as folder:
            for path in bundle.manifest.files:
                if not path.startswith(f"{layout.PLANS}/"):
                    place(bundle.folder / path, folder / path)
            finish_bundle(folder, edit(folder, bundle.manifest), progress)
    except OutputExistsError:
        if not target.is_dir():  # else another process was faster
            raise
    return target


def _target(bundle: Bundle, name: str, key: Sequence[str]) -> Path:
    cache = cache_folder()
    if cache is None:
        raise UsageError(
            f"{bundle.folder}: there is no cache folder to extend it in; set XDG_CACHE_HOME"
        )
    files = sorted(f"{path}={file.sha256}" for path, file in bundle.manifest.files.items())
    told = hashlib.sha256("\0".join((*files, name, *key)).encode("utf-8", "surrogateescape"))
    return Path(cache, "bundles", f"{bundle.folder.name}-{name}-{told.hexdigest()[:16]}")
