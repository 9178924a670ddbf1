"""What a model can be asked for, wherever it runs: what is checked before a job is handed in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from overpaint.bundle.facts import Defaults
from overpaint.runtime.image import Sides
from overpaint.runtime.schedule.strength import Rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Seconds, measured where the model runs: of a denoising step, and of all else in a job, which
    painted so many `pixels`. Both grow with them."""

    step_s: float
    other_s: float
    pixels: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCapabilities:
    """One model as its provider describes it.

    sha256: of the checkpoint; empty where a server does not tell.
    fingerprint: of the whole bundle: another one, another picture; empty where it is not known.
    sides, native: what sides its pictures may have, and the (width, height) that suits it best.
    samplers: those that run it, each with the noise levels (sigmas) that it can be given.
    rounding: of steps x strength, which is how many steps are run.
    most_pixels: of each picture of a job with one, two, … pictures, as the memory there is enough
    for; empty where that is not known.
    masks: the kinds of masks that its server takes; none where it does not know them.
    references: whether it sees reference pictures, through an adapter. looks_at_pictures: whether
        its denoiser itself does.
    loras: the names of those that jobs may give weights to.
    embeddings: the words of its textual inversions, and how many tokens each of them is.
    controls: its control networks, and how many kinds of picture each tells apart if it is a union.
    device, pace: None before it has run.
    """

    name: str
    family: str
    sha256: str
    fingerprint: str = ""
    sides: Sides
    native: tuple[int, int]
    samplers: Mapping[str, tuple[str, ...]]
    defaults: Defaults
    rounding: Rounding
    max_steps: int
    max_images: int
    most_pixels: tuple[int, ...] = ()
    masks: tuple[str, ...] = ()
    references: bool = False
    looks_at_pictures: bool = False
    loras: tuple[str, ...] = ()
    embeddings: Mapping[str, int] = field(default_factory=dict)
    controls: Mapping[str, int | None] = field(default_factory=dict)
    device: str | None = None
    open: bool = False
    pace: Pace | None = None
