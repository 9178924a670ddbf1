"""What each family exports, in the file that is called as the family."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from overpaint.bundle.families import FAMILIES
from overpaint.bundle.families.family import Family
from overpaint.export.architectures import Architecture
from overpaint.export.family import Export


def find(family: Family) -> Export:
    """The `EXPORT` of the file that is called as the family."""
    export: Export = import_module(f"{__name__}.{family.module}").EXPORT
    return export


EXPORTS: Final[dict[str, Export]] = {name: find(family) for name, family in FAMILIES.items()}
"""By the family's name."""

ARCHITECTURES: Final[dict[str, Architecture]] = {
    name: architecture
    for export in EXPORTS.values()
    for name, architecture in export.architectures.items()
}
"""The architectures whose graphs the wheel carries: a fine-tune keeps its base's, so these few
cover nearly all checkpoints."""
