"""A sampler is a table of plain numbers, one row for every call of the denoiser.

With m the denoiser's output after guidance and z standard normal noise:

    hᵢ   = pᵢ·xᵢ + qᵢ·mᵢ                     usually the predicted x₀, which is also the preview
    xᵢ₊₁ = aᵢ·xᵢ + Σⱼ bᵢⱼ·hᵢ₋ⱼ + Σⱼ cᵢⱼ·zᵢ₋ⱼ

The history runs over h and not over m: over raw outputs DPM++ 2M would need unbounded memory. All
numbers are computed in float64, before the loop; strength takes the table's tail.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One call of the denoiser at x·scale_in and `timestep`, and the update that follows it.

    `sigma` is the noise level the row starts from, in the sampler's own convention; `draws` says
    whether noise is drawn in this row, which a generator's state must see even where c is zero.
    """

    timestep: float
    sigma: float
    scale_in: float
    p: float
    q: float
    a: float
    b: tuple[float, ...]
    c: tuple[float, ...] = ()
    draws: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Rows to run, and how noise enters before the first: x = signal·z + noise·ε.

    Without an image (text to image) x = initial·ε. `skipped` counts the denoising steps that
    strength left out, `requested` those asked for. With no rows the result is z itself, i.e. the
    round trip through the VAE.
    """

    rows: tuple[Row, ...]
    signal: float
    noise: float
    initial: float
    requested: int
    skipped: int
