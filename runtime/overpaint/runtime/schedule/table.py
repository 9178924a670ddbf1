"""A sampler is a table of plain numbers, one row for every call of the denoiser.

With m the denoiser's output after guidance and z standard normal noise:

    hᵢ   = pᵢ·xᵢ + qᵢ·mᵢ                     usually the predicted x₀, which is also the preview
    xᵢ₊₁ = aᵢ·xᵢ + Σⱼ bᵢⱼ·hᵢ₋ⱼ + Σⱼ cᵢⱼ·zᵢ₋ⱼ

The history runs over h and not over m: over raw outputs DPM++ 2M would need unbounded memory. All
numbers are computed in float64, before the loop; strength takes the table's tail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One call of the denoiser at x·scale_in and `timestep`, and the update that follows it.

    Where the row starts, x = alpha·x₀ + sigma·ε in the sampler's own convention. `draws` says
    whether noise is drawn in this row, which a generator's state must see even where c is zero.
    `preview` = (u, v) reads the predicted x₀ as u·xᵢ₊₁ + v·hᵢ; it is h itself unless the history
    holds something else. `unclipped` is a second weight of hᵢ, taken before the schedule's clip
    (DDIM alone clips x₀ and not the noise it points along).
    """

    timestep: float
    alpha: float
    sigma: float
    scale_in: float
    p: float
    q: float
    a: float
    b: tuple[float, ...]
    c: tuple[float, ...] = ()
    draws: bool = False
    preview: tuple[float, float] = (0.0, 1.0)
    unclipped: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """What the predicted x₀ is held to, once a row: `range` to ±limit; `dynamic` to the quantile
    `ratio` of |x₀| of each image, at least 1 and at most `limit`, and divided by it.

    Source of `dynamic`: Saharia et al. 2022 (Imagen), section 2.3.
    """

    kind: Literal["range", "dynamic"]
    limit: float
    ratio: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Rows to run, and how noise enters before the first: x = signal·z + noise·ε.

    Without an image (text to image) x = initial·ε. `requested` counts the denoising steps of the
    whole schedule, `skipped` those that strength left out before the first row, `executed` those
    that run; a step of a second-order sampler is two rows. With no rows the result is z itself,
    i.e. the round trip through the VAE.

    `discards_image`: strength < 1 was asked for, but a flow schedule of so few steps starts at pure
    noise all the same, so two different pictures give one result: warn. `ignored` names the fields
    of the checkpoint's scheduler config that this sampler has no use for, as "field=value".

    `end` is the level (α, σ) at which x stands after the last row.
    """

    rows: tuple[Row, ...]
    signal: float
    noise: float
    initial: float
    requested: int
    skipped: int
    executed: int
    sampler: str
    clip: Clip | None = None
    discards_image: bool = False
    ignored: tuple[str, ...] = ()
    end: tuple[float, float] = (1.0, 0.0)

    def level_after(self, done: int) -> tuple[float, float]:
        """(α, σ) of x = α·x₀ + σ·ε after so many rows, as the next row sees it."""
        if done == len(self.rows):
            return self.end
        return self.rows[done].alpha, self.rows[done].sigma

    @property
    def depth(self) -> int:
        """How many h the longest row looks back over, the row's own included."""
        return max((len(row.b) for row in self.rows), default=1)

    @property
    def noise_depth(self) -> int:
        """How many z the longest row looks back over, the row's own included."""
        return max((max(len(row.c), int(row.draws)) for row in self.rows), default=0)
