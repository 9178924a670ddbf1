"""A pipeline's sessions where an adapter is opened beside its bundle."""

from __future__ import annotations

import os
from collections.abc import Callable

from overpaint.bundle import layout
from overpaint.bundle.files.hashing import Progress
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.manifest import Manifest
from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.ip_adapter.attach import attach
from overpaint.bundle.ip_adapter.bundle import open_adapter
from overpaint.engines.choose import Decision, open_session
from overpaint.engines.session.session import Session
from overpaint.runtime.engines import PLAIN, SEEING


def open_seeing(
    bundle: Bundle, adapter: str | os.PathLike[str], progress: Progress | None = None
) -> Bundle:
    """`bundle` with a denoiser that sees reference pictures through `adapter`.

    Raises BundleError, IntegrityError, UsageError, CheckpointError.
    """
    folder = attach(bundle, open_adapter(adapter, progress), progress)
    return open_bundle(folder, progress=progress)


def opener(
    bundle: Bundle, plain: Bundle, decision: Decision, seeing: Bundle | None
) -> Callable[[str], Session]:
    """What opens a component of `bundle` as `decision` has it, and those of `seeing` likewise; and
    those of `plain`, which has no control networks, by their names behind `PLAIN`."""

    def opened(name: str) -> Session:
        if seeing is not None and name == SEEING:
            return open_session(seeing, seeing.manifest.denoiser, decision)
        if name.endswith(PLAIN):
            return open_session(plain, name.removesuffix(PLAIN), decision)
        its_own = seeing is not None and name in layout.REFERENCES
        return open_session(seeing if seeing and its_own else bundle, name, decision)

    return opened


def names_with_references(names: tuple[str, ...], manifest: Manifest) -> tuple[str, ...]:
    """Of a bundle's components called `names`, and an adapter's, those to open ahead.

    The bundle's own denoiser is opened when a run without reference pictures asks for it: with an
    adapter few do, and two denoisers take twice the memory.
    """
    own = (name for name in names if name != manifest.denoiser)
    return (*own, *layout.REFERENCES, SEEING)
