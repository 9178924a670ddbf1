"""What an engine computes in, and how far bfloat16 is from float32 on a bundle's own pictures.

bfloat16 has 8 significant bits. Whether a picture survives that depends on the weights, so it is
measured: one picture of this bundle in both, on this processor, by the runtime (`precision_gate`).
The figure is kept in the user's cache folder; where there is none, it is measured each time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, TypeAlias

from overpaint.bundle.files.figures import figure_path, keep_figure, read_figure
from overpaint.bundle.format.bundle import Bundle
from overpaint.engines.host.cpuinfo import cpu_flags

Precision: TypeAlias = Literal["f32", "bf16", "int8"]

BAR_DB: Final = 30.0
"""Peak signal-to-noise ratio of the final picture, below which a precision is refused."""
SIDE: Final = 128
STEPS: Final = 10
"""Of the picture that is painted in both: its side in pixels, and the most steps it is given."""

_UNITS: Final = ("amx_bf16", "avx512_bf16")


def computed_here() -> bool:
    """Whether this processor computes in bfloat16."""
    return bool(cpu_flags() & set(_UNITS))


def measured(bundle: Bundle) -> float | None:
    """PSNR in dB of this bundle's bf16 picture by the OpenVINO installed here, None if unknown."""
    return read_figure(_path(bundle))


def remember(bundle: Bundle, psnr_db: float) -> None:
    """Keep what was measured; does nothing where it cannot."""
    keep_figure(_path(bundle), psnr_db)


def _path(bundle: Bundle) -> Path | None:
    """Named by all that the figure depends on: the engines' files, the version, the processor."""
    from importlib.metadata import version  # 20 ms, and only OpenVINO's runs come here

    if bundle.inferred:  # no hashes to know it again by
        return None
    parts = tuple(f"{name}/" for name in bundle.manifest.components)
    files = sorted(
        f"{file.sha256} {path}"
        for path, file in bundle.manifest.files.items()
        if path.startswith(parts)
    )
    flags = cpu_flags()
    units = (unit for unit in _UNITS if unit in flags)  # each rounds in its own way
    picture = f"{SIDE} pixels, {STEPS} steps"
    return figure_path("bf16", (version("openvino"), picture, *units, *files))
