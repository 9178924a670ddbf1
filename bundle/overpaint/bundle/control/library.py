"""The control networks that come with the package: a library as the architectures' one is.

`python -m overpaint.export.control.library` makes it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from overpaint.bundle import layout
from overpaint.bundle.graph.weights import Slot
from overpaint.bundle.importing.library import Library, open_library

PACKAGED: Final = Path(__file__).parent / "networks"


def control_library() -> Library:
    """The packaged library. Raises BundleError where the installation carries none."""
    return open_library(PACKAGED)


def slots_of(library: Library, name: str) -> dict[str, Slot]:
    """The weights of a whole control network: those of its graphs together."""
    graphs = next(iter(library.architectures[name].graphs.values()))
    parts = [part for part in (layout.HINT, layout.CONTROLNET) if part in graphs]
    return {key: slot for part in parts for key, slot in library.slots(graphs[part]).items()}
