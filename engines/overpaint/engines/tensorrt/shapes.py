"""The sizes that plans are built for: a picture's size, and what each engine sees of it.

TensorRT's profiles are exact: their smallest, usual and largest sizes are one. docs/decisions has
why. TensorRT for RTX also takes a range, which it specialises where it runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Final, NamedTuple, Self, TypeAlias

from overpaint.bundle import layout
from overpaint.bundle.control.residuals import sizes_of
from overpaint.bundle.errors import UsageError
from overpaint.bundle.families import FAMILIES
from overpaint.bundle.files.json import read_json
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.manifest import (
    REFERENCE_PLACES,
    REFERENCE_STATES,
    Component,
    Manifest,
)
from overpaint.bundle.ip_adapter import inputs as ip_adapter
from overpaint.bundle.tensor import Tensor

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
"""Input name -> its exact shape."""


class Extent(NamedTuple):
    """The shapes of one input that a plan takes: from `smallest` to `largest`, tuned for `usual`.
    They are one shape where a plan is for exact sizes."""

    smallest: tuple[int, ...]
    usual: tuple[int, ...]
    largest: tuple[int, ...]

    def __str__(self) -> str:
        if self.smallest == self.largest:
            return str(self.usual)
        return f"{self.smallest} to {self.largest}"

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Whether `shape` lies in it."""
        return len(shape) == len(self.usual) and all(
            low <= one <= high
            for low, one, high in zip(self.smallest, shape, self.largest, strict=True)
        )


Profile: TypeAlias = Mapping[str, Extent]
"""Input name -> the shapes that a plan takes of it."""

_DENOISERS: Final = [family.denoiser for family in FAMILIES.values()]
LATENTS: Final = (
    *("latent_sample", "picture", "hint"),
    *sorted({"sample", *(one.sample for one in _DENOISERS)}),
)
"""Inputs whose last axes are a picture's sides, of VAEs, of denoisers and of control networks."""

SEQUENCES: Final = ("input_ids", "attention_mask", *sorted({one.context for one in _DENOISERS}))
"""Inputs whose second axis is the text's tokens."""

PICTURES_AT_ONCE: Final = 4  # at the most, in a range that nobody chose
REFERENCES: Final = 4  # pictures that a denoiser is shown, at the most, in any range
LOOKED_AT: Final = (REFERENCE_STATES, REFERENCE_PLACES)
"""Inputs whose last axis but one is all cells of the pictures that a denoiser looks at."""
_LARGEST_REFERENCE: Final = 1024 * 1024  # pixels, of those beside the picture that is repainted


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


@dataclass(frozen=True, slots=True)
class PictureRange:
    """From the smallest to the largest of each axis, and what is asked for most."""

    smallest: PictureShape
    usual: PictureShape
    largest: PictureShape

    @classmethod
    def parse(cls, text: str) -> Self:
        """ "1x256x256:1x512x512:4x1024x1024"; a side alone, as in 256:512:1024, is one square."""
        parts = [
            f"1x{part}x{part}" if part.isdecimal() else part for part in text.strip().split(":")
        ]
        try:
            smallest, usual, largest = map(PictureShape.parse, parts)
        except (UsageError, ValueError):
            raise UsageError(
                "--sizes: expected MIN:OPT:MAX, each a side or BATCHxHEIGHTxWIDTH, for example "
                f"256:512:1024 or 1x256x256:1x512x512:4x1024x1024; got {text!r}"
            ) from None
        found = cls(smallest, usual, largest)
        axes = zip(*(astuple(one) for one in (smallest, usual, largest)), strict=True)
        if any(not low <= middle <= high for low, middle, high in axes):
            raise UsageError(f"--sizes {found}: expected each axis to grow from left to right")
        return found

    def __str__(self) -> str:
        return f"{self.smallest}:{self.usual}:{self.largest}"

    def takes(self, size: PictureShape) -> bool:
        """Whether pictures of this size are in it, whatever the batch."""
        return all(
            low <= side <= high
            for low, side, high in (
                (self.smallest.height, size.height, self.largest.height),
                (self.smallest.width, size.width, self.largest.width),
            )
        )

    def nearest(self, size: PictureShape) -> PictureShape:
        """What in it is nearest to `size`."""
        low, high = self.smallest, self.largest
        height = min(max(size.height, low.height), high.height)
        return PictureShape(1, height, min(max(size.width, low.width), high.width))

    def widened(self, size: PictureShape) -> PictureRange:
        """The least range that `size` is in as well."""
        low, high = self.smallest, self.largest
        return PictureRange(
            PictureShape(low.batch, min(low.height, size.height), min(low.width, size.width)),
            self.usual,
            PictureShape(high.batch, max(high.height, size.height), max(high.width, size.width)),
        )

    @property
    def size(self) -> str:
        """The sizes as people write them."""
        if self.smallest.size == self.largest.size:
            return self.smallest.size
        return f"{self.smallest.size} to {self.largest.size}"


def default_shape(bundle: Bundle) -> PictureShape:
    """One picture of the size that the checkpoint was trained for: its denoiser's config has it, in
    cells of latents, or its VAE's, in pixels.

    Raises:
        UsageError: neither config says.
    """
    manifest = bundle.manifest
    for component, pixels in (
        (manifest.denoiser, manifest.latents.downscale),
        (layout.VAE_DECODER, 1),
    ):
        sample = read_json(bundle.path(f"{component}/{layout.CONFIG}")).get("sample_size")
        if isinstance(sample, int) and sample > 0:
            return PictureShape(1, sample * pixels, sample * pixels)
    raise UsageError(
        f"--shape: {manifest.denoiser}/{layout.CONFIG} does not say which size the checkpoint "
        "was trained for; name one, for example --shape 1x512x512"
    )


def default_range(bundle: Bundle) -> PictureRange:
    """Up to four pictures, with sides from half to twice the checkpoint's own, as far as it goes.

    Raises:
        UsageError: as `default_shape`.
    """
    usual, manifest = default_shape(bundle), bundle.manifest
    multiple, downscale = manifest.latents.multiple, manifest.latents.downscale
    limits = [
        component.ranges[side].maximum * (1 if _takes_pixels(name) else downscale)
        for name, component in manifest.components.items()
        for tensor in component.inputs
        if tensor.name in LATENTS
        for side in tensor.shape[2:]
        if isinstance(side, str)
    ]
    least = max(multiple, usual.width // 2 // multiple * multiple)
    most = max(usual.width, min(2 * usual.width, *limits) // multiple * multiple)
    return PictureRange(
        PictureShape(1, least, least), usual, PictureShape(PICTURES_AT_ONCE, most, most)
    )


def exact_profiles(
    manifest: Manifest, shapes: Sequence[PictureShape]
) -> dict[str, tuple[Profile, ...]]:
    """What each component is built for, each profile once: exactly these shapes, and texts of any
    length where the text encoder leaves it open.

    The denoiser is called with the batch, and with guidance with twice as many; with an adapter it
    sees one reference picture, and where it looks at pictures itself, from none to `REFERENCES`.
    The VAE and the text encoders take one picture and one chunk of text
    at a time, whatever the batch.

    Raises:
        UsageError: the bundle does not take such a shape.
    """
    for shape in shapes:
        _check_sides(manifest, "--shape", shape)
    found: dict[str, tuple[Profile, ...]] = {}
    for name in manifest.components:
        every = [
            _profile(_shapes(manifest, name, batch, shape, end=end) for end in range(3))
            for shape in shapes
            for batch in _batches(manifest, name, shape)
        ]
        found[name] = tuple(one for i, one in enumerate(every) if one not in every[:i])
    return found


def ranged_profiles(manifest: Manifest, sizes: PictureRange) -> dict[str, tuple[Profile, ...]]:
    """One profile for each component, which takes whatever lies in `sizes`: for the denoiser from
    the smallest batch without guidance to the largest with it, and with an adapter from one
    reference picture to `REFERENCES`.

    Raises:
        UsageError: the bundle does not take such shapes.
    """
    ends = sizes.smallest, sizes.usual, sizes.largest
    for shape in ends:
        _check_sides(manifest, "--sizes", shape)
    found: dict[str, tuple[Profile, ...]] = {}
    for name in manifest.components:
        batches = [_batches(manifest, name, shape) for shape in ends]
        wanted = min(batches[0]), max(batches[1]), max(batches[2])
        three = (
            _shapes(manifest, name, batch, shape, references, end=end)
            for end, (batch, shape, references) in enumerate(
                zip(wanted, ends, (1, 1, REFERENCES), strict=True)
            )
        )
        found[name] = (_profile(three),)
    return found


def _profile(three: Iterable[Shapes]) -> Profile:
    """The smallest, usual and largest shapes as one profile."""
    smallest, usual, largest = three
    return {name: Extent(smallest[name], usual[name], largest[name]) for name in smallest}


def _is_network(name: str) -> bool:
    """Whether a component is a control network, which is called as the denoiser is."""
    return name.startswith(f"{layout.CONTROLNET}-")


def _takes_pixels(name: str) -> bool:
    """Whether its sides are a picture's, and not those of latents."""
    return name == layout.VAE_ENCODER or name.startswith(f"{layout.HINT}-")


def _batches(manifest: Manifest, name: str, shape: PictureShape) -> tuple[int, ...]:
    if name != manifest.denoiser and not _is_network(name):
        return (1,)
    if manifest.guidance_embedding_width is not None:
        return (shape.batch,)
    return (shape.batch, 2 * shape.batch)


def _shapes(
    manifest: Manifest,
    name: str,
    batch: int,
    shape: PictureShape,
    references: int = 1,
    *,
    end: int,
) -> Shapes:
    """The shapes of one end of a profile: 0 is the smallest, 1 the usual, 2 the largest."""
    component = manifest.components[name]
    cell = 1 if _takes_pixels(name) else manifest.latents.downscale
    sides = shape.height // cell, shape.width // cell
    levels = sizes_of(*sides, manifest.latents.multiple // manifest.latents.downscale)
    tokens = _tokens(manifest, name) if end else _shortest(manifest, name)
    looked_at = _looked_at(manifest, shape)[end]
    found = {}
    for tensor in component.inputs:
        wanted = _of_references(manifest, tensor, batch, sides, references) or _wanted(
            tensor, batch, sides, tokens, looked_at
        )
        if tensor.name.startswith(layout.RESIDUAL):
            wanted |= {at: levels.get(str(side)) for at, side in enumerate(tensor.shape) if at}
        found[tensor.name] = tuple(
            side if isinstance(side, int) else _in_range(shape, name, component, side, wanted, axis)
            for axis, side in enumerate(tensor.shape)
        )
    return found


def _of_references(
    manifest: Manifest, tensor: Tensor, batch: int, sides: tuple[int, int], references: int
) -> dict[int, int | None] | None:
    """Axis -> size of what a denoiser with an adapter takes besides; None for any other tensor."""
    if tensor.name == ip_adapter.TOKENS and manifest.ip_adapter is not None:
        return {0: batch, 1: references, 2: references * manifest.ip_adapter.tokens}
    if (level := ip_adapter.level_of(tensor.name)) is not None:
        height, width = ip_adapter.sides(level, *sides)
        return {0: references, 1: height * width}
    return None


def _looked_at(manifest: Manifest, shape: PictureShape) -> tuple[int, int, int]:
    """Cells of no picture, of the one that is repainted, and of others besides."""
    area = manifest.latents.downscale**2
    own = shape.height * shape.width
    others = REFERENCES * min(own, _LARGEST_REFERENCE)
    return 0, own // area, (own + others) // area


def _wanted(
    tensor: Tensor, batch: int, sides: tuple[int, int], tokens: int | None, looked_at: int
) -> dict[int, int | None]:
    """Axis -> size, by what the axes of our tensors mean."""
    if tensor.name in LOOKED_AT:
        return {len(tensor.shape) - 2: looked_at}
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
            f"{shape}: {name} takes {symbol} from {allowed.minimum} to {allowed.maximum} "
            f"in multiples of {allowed.multiple}, and this is {size}"
        )
    return size


def _tokens(manifest: Manifest, name: str) -> int | None:
    """How long the text is: an encoder's own sequence, or all that the denoiser reads."""
    own = [one.length for one in manifest.text.encoders if one.component == name]
    if own:
        return own[0]
    if name != manifest.denoiser and not _is_network(name):
        return None
    joined = [one for one in manifest.text.encoders if one.hidden is not None]
    clip = max((one.length for one in joined if one.kind == "clip"), default=0)
    behind = [one.length for one in joined if one.kind != "clip"]
    return clip + (behind[0] if behind else manifest.text.t5_length or 0)


def _shortest(manifest: Manifest, name: str) -> int | None:
    """The same for the shortest text: another one where no token is padded."""
    tokens = _tokens(manifest, name)
    if tokens is None or all(one.pads for one in manifest.text.encoders):
        return tokens
    return manifest.components[name].ranges["tokens"].minimum


def _check_sides(manifest: Manifest, option: str, shape: PictureShape) -> None:
    multiple = manifest.latents.multiple
    if shape.batch < 1 or min(shape.height, shape.width) < multiple:
        raise UsageError(f"{option} {shape}: expected a batch and sides of at least 1x{multiple}")
    if shape.height % multiple or shape.width % multiple:
        near = [max(multiple, round(s / multiple) * multiple) for s in (shape.height, shape.width)]
        raise UsageError(
            f"{option} {shape}: sides are multiples of {multiple}; "
            f"the nearest is {shape.batch}x{near[0]}x{near[1]}"
        )
