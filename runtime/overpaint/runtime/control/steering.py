"""Control networks around one run: hints once, residuals in each call of the denoiser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from overpaint.bundle import layout
from overpaint.bundle.arrays import NUMPY_DTYPES
from overpaint.bundle.control.residuals import sizes_of
from overpaint.bundle.families import family as families
from overpaint.bundle.format.controlnet import ControlNet
from overpaint.bundle.tensor import Tensor
from overpaint.engines.session.session import Session
from overpaint.runtime.denoiser.engine import timesteps_for
from overpaint.runtime.feed import as_feed
from overpaint.runtime.schedule import Row, Schedule

from .control import Control

Array = npt.NDArray[Any]

_GUESS_FROM: Final = -1.0
"""The logarithm of the first residual's share in guess mode; the last, the middle's, is whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A control network in one run. hint: (1,C,h,w), or with a row for each branch of guidance.
    constants: the denoiser's, for all branches and images."""

    manifest: ControlNet
    control: Control
    session: Session
    hint: Array = field(repr=False)


class Steering:
    """What is fed to a denoiser in each call for its residuals: the networks' sum.

    guess: the networks see the prompt's half of guidance alone, and the first residuals count
    least, so that it works without a prompt (Zhang et al. 2023, "guess mode"; diffusers).
    """

    def __init__(
        self,
        networks: Sequence[Network],
        denoiser: Session,
        called: families.Denoiser,
        constants: Mapping[str, Array],
        schedule: Schedule,
        shape: tuple[int, ...],
        *,
        patch: int,
        guess: bool,
    ) -> None:
        """For latents of `shape` (branches,B,C,h,w). patch: how many cells a side a token of the
        denoiser's has, 1 for a UNet."""
        branches, n = shape[:2]
        sizes = {"batch": branches * n, **sizes_of(shape[3], shape[4], patch)}
        self._sums = {
            name: np.zeros(_shape(one, sizes), NUMPY_DTYPES[one.dtype])
            for name, one in denoiser.inputs.items()
            if name.startswith(layout.RESIDUAL)
        }
        self._row = {id(row): at for at, row in enumerate(schedule.rows)}
        self._called = called
        self._parts = [
            _Part.of(one, called, constants, schedule, branches, n, list(self._sums), guess=guess)
            for one in networks
        ]

    def __call__(self, sample: Array, row: Row) -> Mapping[str, Array]:
        """The residuals by the denoiser's names of them, for its scaled latents
        (branches,B,C,h,w). They are overwritten by the next call."""
        at, rows = self._row[id(row)], len(self._row)
        for whole in self._sums.values():
            whole[:] = 0
        for part in self._parts:
            if part.network.control.acts(at, rows):
                part.add(sample, row, self._called, self._sums)
        return self._sums


def _shape(tensor: Tensor, sizes: Mapping[str, int]) -> list[int]:
    return [sizes[side] if isinstance(side, str) else side for side in tensor.shape]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A network, ready to be called: on the last `seen` of all branches. `scales`: by each of the
    denoiser's residuals, whose network's it is and how much of it counts."""

    network: Network
    seen: int
    step: Any
    timesteps: Mapping[float, Array]
    scales: Mapping[str, tuple[str, np.float32]]

    @classmethod
    def of(
        cls,
        network: Network,
        called: families.Denoiser,
        constants: Mapping[str, Array],
        schedule: Schedule,
        branches: int,
        n: int,
        wanted: list[str],
        *,
        guess: bool,
    ) -> _Part:
        session, manifest = network.session, network.manifest
        alone = guess or manifest.global_pool
        seen = 1 if alone else branches
        bound = {
            name: array[-seen * n :] for name, array in constants.items() if name in session.inputs
        }
        hint = network.hint[-seen:]
        bound["hint"] = np.repeat(np.broadcast_to(hint, (seen, *hint.shape[1:])), n, axis=0)
        if manifest.zero_pooled or manifest.sees_mask:  # as diffusers runs them
            bound["pooled_projections"] = np.zeros_like(bound["pooled_projections"])
        if manifest.types is not None:
            kinds = np.zeros((seen * n, manifest.types), np.float32)
            kinds[:, network.control.kind or 0] = 1
            bound["control_type"] = kinds
        return cls(
            network=network,
            seen=seen,
            step=session.bind(as_feed(session, bound)),
            timesteps=timesteps_for(session, called, schedule, seen * n),
            scales=_scales(manifest, network.control.scale, wanted, guess=guess),
        )

    def add(
        self, sample: Array, row: Row, called: families.Denoiser, sums: Mapping[str, Array]
    ) -> None:
        seen = sample[-self.seen :]
        latents = np.ascontiguousarray(
            seen.reshape(-1, *seen.shape[2:]),
            NUMPY_DTYPES[self.network.session.inputs[called.sample].dtype],
        )
        found = self.step({called.sample: latents, called.timestep: self.timesteps[row.timestep]})
        for name, (source, scale) in self.scales.items():
            residual = found[source]
            if self.network.manifest.global_pool:
                residual = residual.mean(axis=(2, 3), keepdims=True, dtype=np.float32)
            sums[name][-len(residual) :] += residual * scale


def _scales(
    manifest: ControlNet, scale: float, wanted: list[str], *, guess: bool
) -> dict[str, tuple[str, np.float32]]:
    """A UNet's residuals go where their names say; an MMDiT's blocks share those of a network with
    fewer, block b of L taking residual int(b / (L / n))."""
    given = manifest.residuals
    if set(given) == set(wanted):
        shares = np.ones(len(given))
        if guess and not manifest.global_pool:
            shares = np.logspace(_GUESS_FROM, 0, len(given))
        pairs = zip(given, shares, strict=True)
        return {name: (name, np.float32(share * scale)) for name, share in pairs}
    each = (len(wanted) + 1) / len(given)
    return {
        name: (given[int(block / each)], np.float32(scale)) for block, name in enumerate(wanted)
    }
