"""The pictures beside the one that is painted over: the mask, and references with theirs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from overpaint.runtime.image import Picture, read
from overpaint.runtime.masks.read import read_mask

from .run_options import Options


@dataclass(frozen=True, slots=True)
class Given:
    """Read once for all that is painted."""

    mask: Picture | None
    references: tuple[Picture, ...]
    reference_masks: tuple[Picture, ...]
    looked_at: tuple[Picture, ...]

    @classmethod
    def read(cls, options: Options) -> Given:
        """Raises ImageError."""
        return cls(
            None if options.mask is None else read_mask(options.mask),
            tuple(map(read, options.ip_adapter_image)),
            tuple(map(read_mask, options.ip_adapter_mask)),
            tuple(map(read, options.reference_image)),
        )

    def asked(self) -> dict[str, Any]:
        """Whatever of it decides about the pixels, for a folder run's record."""
        asked: dict[str, Any] = {"mask": self.mask.sha256 if self.mask else None}
        if self.references:
            asked["ip_adapter_image"] = [one.sha256 for one in self.references]
            asked["ip_adapter_mask"] = [one.sha256 for one in self.reference_masks]
        if self.looked_at:
            asked["reference_image"] = [one.sha256 for one in self.looked_at]
        return asked
