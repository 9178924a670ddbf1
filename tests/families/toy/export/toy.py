"""What a toy is traced from: nothing new."""

from __future__ import annotations

from overpaint.export.families.sd1 import EXPORT as FIRST
from overpaint.export.family import Export

EXPORT = Export(denoiser=FIRST.denoiser, architectures={})
