"""The sizes that plans are built for: a picture's size, and what each engine sees of it.

Every profile is exact: its smallest, usual and largest sizes are one. docs/decisions has why.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self, TypeAlias

from overpaint.bundle import layout
from overpaint.bundle.errors import UsageError
from overpaint.bundle.families import FAMILIES
from overpaint.bundle.files.json import read_json
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.manifest import Component, Manifest
from overpaint.bundle.tensor import Tensor

Profile: TypeAlias = Mapping[str, tuple[int, ...]]
"""Input name -> its exact shape."""

_DENOISERS: Final = [family.denoiser for family in FAMILIES.values()]
LATENTS: Final = ("latent_sample", *sorted({"sample", *(one.sample for one in _DENOISERS)}))
"""Inputs whose last axes are a picture's sides, of VAEs and of denoisers."""

SEQUENCES: Final = ("input_ids", *sorted({one.context for one in _DENOISERS}))
"""Inputs whose second axis is the text's tokens."""


@dataclass(frozen=True, slots=True, order=True)
class PictureShape:
    """How many pictures go through the denoiser together, and their size in pixels."""

    batch: int
    height: int
    width: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """ "1x512x768" is one picture of height 512 and width 768."""
        match = re.fullmatch(r"(\d{1,4})[xX×](\d{1,6})[xX×](\d{1,6})", text.strip())
        if match is None:
            raise UsageError(
                f"--shape: expected BATCHxHEIGHTxWIDTH, for example 1x512x768; got {text!r}"
            )
        return cls(*map(int, match.groups()))

    def __str__(self) -> str:
        return f"{self.batch}x{self.height}x{self.width}"

    @property
    def size(self) -> str:
        """WIDTHxHEIGHT, as people write sizes."""
        return f"{self.width}x{self.height}"


def default_shape(bundle: Bundle) -> PictureShape:
    """One picture of the size that the checkpoint was trained for, which its denoiser's config has.

    Raises:
        UsageError: the config does not say.
    """
    manifest = bundle.manifest
    config = read_json(bundle.path(f"{manifest.denoiser}/{layout.CONFIG}"))
    sample = config.get("sample_size")
    if not isinstance(sample, int) or sample < 1:
        raise UsageError(
            f"--shape: {manifest.denoiser}/{layout.CONFIG} does not say which size the checkpoint "
            "was trained for; name one, for example --shape 1x512x512"
        )
    side = sample * manifest.latents.downscale
    return PictureShape(1, side, side)


def profiles(manifest: Manifest, shapes: Sequence[PictureShape]) -> dict[str, tuple[Profile, ...]]:
    """What each component is built for, each profile once.

    The denoiser is called with the batch, and with guidance with twice as many. The VAE and the
    text encoders take one picture and one chunk of text at a time, whatever the batch.

    Raises:
        UsageError: the bundle does not take such a shape.
    """
    for shape in shapes:
        _check_sides(manifest, shape)
    found: dict[str, tuple[Profile, ...]] = {}
    for name, component in manifest.components.items():
        every = [
            _profile(manifest, name, component, batch, shape)
            for shape in shapes
            for batch in _batches(manifest, name, shape)
        ]
        found[name] = tuple(one for i, one in enumerate(every) if one not in every[:i])
    return found


def _batches(manifest: Manifest, name: str, shape: PictureShape) -> tuple[int, ...]:
    if name != manifest.denoiser:
        return (1,)
    if manifest.guidance_embedding_width is not None:
        return (shape.batch,)
    return (shape.batch, 2 * shape.batch)


def _profile(
    manifest: Manifest, name: str, component: Component, batch: int, shape: PictureShape
) -> Profile:
    cell = 1 if name == layout.VAE_ENCODER else manifest.latents.downscale
    sides = shape.height // cell, shape.width // cell
    tokens = _tokens(manifest, name)
    profile = {}
    for tensor in component.inputs:
        wanted = _wanted(tensor, batch, sides, tokens)
        profile[tensor.name] = tuple(
            side if isinstance(side, int) else _in_range(shape, name, component, side, wanted, axis)
            for axis, side in enumerate(tensor.shape)
        )
    return profile


def _wanted(
    tensor: Tensor, batch: int, sides: tuple[int, int], tokens: int | None
) -> Mapping[int, int | None]:
    """Axis -> size, by what the axes of our tensors mean."""
    if tensor.name in LATENTS and len(tensor.shape) == 4:
        return {0: batch, 2: sides[0], 3: sides[1]}
    if tensor.name in SEQUENCES:
        return {0: batch, 1: tokens}
    return {0: batch}


def _in_range(
    shape: PictureShape,
    name: str,
    component: Component,
    symbol: str,
    wanted: Mapping[int, int | None],
    axis: int,
) -> int:
    size = wanted.get(axis)
    if size is None:
        raise UsageError(f"{name}: a plan needs a number for {symbol!r}, and overpaint has none")
    allowed = component.ranges[symbol]
    if not allowed.minimum <= size <= allowed.maximum or size % allowed.multiple:
        raise UsageError(
            f"--shape {shape}: {name} takes {symbol} from {allowed.minimum} to {allowed.maximum} "
            f"in multiples of {allowed.multiple}, and this is {size}"
        )
    return size


def _tokens(manifest: Manifest, name: str) -> int | None:
    """How long the text is: an encoder's own sequence, or all that the denoiser reads."""
    own = [one.length for one in manifest.text.encoders if one.component == name]
    if own:
        return own[0]
    if name != manifest.denoiser:
        return None
    clip = max((one.length for one in manifest.text.encoders if one.kind == "clip"), default=0)
    t5 = [one.length for one in manifest.text.encoders if one.kind == "t5"]
    return clip + (t5[0] if t5 else manifest.text.t5_length or 0)


def _check_sides(manifest: Manifest, shape: PictureShape) -> None:
    multiple = manifest.latents.multiple
    if shape.batch < 1 or min(shape.height, shape.width) < multiple:
        raise UsageError(f"--shape {shape}: expected a batch and sides of at least 1x{multiple}")
    if shape.height % multiple or shape.width % multiple:
        near = [max(multiple, round(s / multiple) * multiple) for s in (shape.height, shape.width)]
        raise UsageError(
            f"--shape {shape}: sides are multiples of {multiple}; "
            f"the nearest is {shape.batch}x{near[0]}x{near[1]}"
        )
