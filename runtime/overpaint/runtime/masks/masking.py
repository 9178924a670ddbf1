"""What a mask means for one run: decided with the settings, before an engine runs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image

from overpaint.runtime.image import Placement
from overpaint.runtime.settings import Settings

from .cells import Cells, hard_cells, hidden, soft_cells
from .fill import surroundings
from .ground import Ground
from .paste import Paste


@dataclass(frozen=True, slots=True, kw_only=True)
class Masking:
    """canvas: the picture that the run starts from, of the run's size, and placement how it came
    there. cells: how much each latent cell may change. hidden: (H,W), the canvas' pixels that
    inpainting denoisers are not shown. fill: "noise" or "nothing" where that takes the place of
    latents under the mask. paste: None where the result is the run's own. empty: nothing may
    change.
    """

    canvas: Image.Image = field(repr=False)
    placement: Placement
    cells: Cells = field(repr=False)
    hidden: npt.NDArray[np.bool_] = field(repr=False)
    soft: bool
    fill: str | None
    paste: Paste | None
    empty: bool
    warnings: tuple[str, ...] = ()


def masking(
    ground: Ground, settings: Settings, placement: Placement, *, cell: int, usual: str, steps: int
) -> Masking:
    """`ground`'s mask for a run of so many requested steps whose canvas is placed so, with latent
    cells of `cell` pixels a side, of which a hard mask takes the `usual` where it is not pasted."""
    assert ground.mask is not None
    assert ground.feathered is not None
    soft, blurred = settings.mask_mode == "soft", ground.feathered
    mask = placement.canvas(blurred if soft else ground.mask)
    pixels = hidden(mask, least=1 if soft else 128)
    which = settings.mask_cells or ("any" if settings.mask_paste else usual)
    cells = soft_cells(mask, cell) if soft else hard_cells(pixels, cell, which)
    canvas = placement.canvas(ground.picture)
    if settings.mask_fill == "blur":
        canvas = surroundings(canvas, mask)
    alpha = _beyond_one_step(blurred, steps) if soft else blurred
    empty = blurred.getbbox() is None
    return Masking(
        canvas=canvas,
        placement=placement,
        cells=cells,
        hidden=pixels,
        soft=soft,
        fill=settings.mask_fill if settings.mask_fill in ("noise", "nothing") else None,
        paste=Paste(ground.picture, alpha, placement) if settings.mask_paste else None,
        empty=empty,
        warnings=_warnings(cells, empty=empty),
    )


def _beyond_one_step(mask: Image.Image, steps: int) -> Image.Image:
    """Where a soft mask asks for less than one of `steps` nothing is repainted: what is pasted
    fades in there, so that the VAE's own changes show no edge."""
    return mask.point([min(255, grey * steps) for grey in range(256)])


def _warnings(cells: Cells, *, empty: bool) -> tuple[str, ...]:
    if empty:
        return ("mask: it is empty (black all over): nothing is repainted",)
    if not cells.any():
        return (
            "mask: it touches no latent cell's first pixel: nothing is repainted; mask_cells any "
            "repaints each cell that it touches",
        )
    return ()
