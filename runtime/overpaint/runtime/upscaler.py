"""A network that enlarges pictures, as ESRGAN's do: a user's ONNX file, checked by its tensors.

    with Upscaler.open("x4.onnx") as upscaler:
        larger = upscaler.enlarge(image, (2048, 1536))  # at least so large, by the network's factor

RGB in [0,1], channels first, as Real-ESRGAN's exports have it (Wang et al. 2021, 2107.10833). It
runs on the processor, in overlapping windows, so that memory does not grow with the picture.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from overpaint.bundle.arrays import NUMPY_DTYPES
from overpaint.bundle.errors import CheckpointError, OverpaintError, SessionError
from overpaint.bundle.files.hashing import sha256_file
from overpaint.bundle.format.manifest import Component
from overpaint.bundle.graph.signature import graph_tensors
from overpaint.bundle.tensor import Range, Tensor, written_shape
from overpaint.engines.choose import open_graph
from overpaint.engines.session.closing import Closing
from overpaint.engines.session.session import Session

from .cancel import Cancel, check
from .tiles.vae import room
from .tiles.windows import blend, cover

FACTORS: Final = (2, 3, 4)
TILE: Final = 192
"""Pixels a side of a window, where the network leaves that open."""
OVERLAP: Final = 32
QUIET: Final = 8
"""Pixels at a window's border that count for nothing: they see the least around them."""
_PROBED: Final = 16
_ROWS: Final = 64
_FLOATS: Final = ("float32", "float16")


@dataclass(frozen=True, slots=True)
class Upscaler(Closing):
    """A network that is open, and the file that it is of. `tile` is (rows, columns)."""

    name: str
    sha256: str
    factor: int
    tile: tuple[int, int]
    session: Session

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open the ONNX file at `path`.

        Raises:
            CheckpointError: it is none, or its tensors are not an upscaler's.
            SessionError: ONNX Runtime cannot load or run it.
            MissingExtraError: onnxruntime is not installed.
        """
        file = Path(path)
        component = _component(file)
        session = open_graph(file.name, file, component)
        try:
            height, width = component.inputs[0].shape[2:]
            tile = _side(height, TILE), _side(width, TILE)
            probed = _side(height, _PROBED), _side(width, _PROBED)
            factor = _factor(file, session, probed)
            return cls(file.name, sha256_file(file), factor, tile, session)
        except BaseException:
            session.close()
            raise

    def enlarge(
        self, image: Image.Image, size: tuple[int, int], cancel: Cancel | None = None
    ) -> Image.Image:
        """An RGB picture, enlarged until it is no smaller than `size` (width, height).

        Raises CancelledError, SessionError; OverpaintError where the temporary folder is full.
        """
        while image.width < size[0] or image.height < size[1]:
            image = self._once(image, cancel)
        return image

    def close(self) -> None:
        self.session.close()

    def _once(self, image: Image.Image, cancel: Cancel | None) -> Image.Image:
        planes = np.asarray(image).transpose(2, 0, 1)
        height, width = planes.shape[1:]
        # A network of one size sees a smaller picture with its border pixels continued.
        missing = [
            max(0, tile - side) for tile, side in zip(self.tile, (height, width), strict=True)
        ]
        if any(missing) and _is_fixed(self.session):
            planes = np.pad(planes, [(0, 0), (0, missing[0]), (0, missing[1])], mode="edge")
        cells = planes.shape[1], planes.shape[2]
        windows = cover(cells, self.tile, min(OVERLAP, min(self.tile) // 2))
        quiet = QUIET if min(self.tile) >= 2 * OVERLAP else 0
        weights = blend(windows, cells, quiet=quiet, scale=self.factor)
        made = room((3, cells[0] * self.factor, cells[1] * self.factor))
        for window, weight in zip(windows, weights, strict=True):
            check(cancel)
            seen = planes[window.of()].astype(np.float32)[None] / np.float32(255)
            made[window.of(self.factor)] += _run(self.session, seen)[0] * weight
        return _picture(made[:, : height * self.factor, : width * self.factor])


def _component(path: Path) -> Component:
    """What a file says of its tensors. Raises CheckpointError where they are not an upscaler's."""
    try:
        inputs, outputs = graph_tensors(path)
    except OverpaintError as error:
        raise CheckpointError(f"{path}: expected an upscaler as an ONNX file: {error}") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not (len(inputs) == len(outputs) == 1 and all(map(_shows_a_picture, (*inputs, *outputs)))):
        told = [f"{one.dtype} {written_shape(one.shape)}" for one in (*inputs, *outputs)]
        raise CheckpointError(
            f"{path}: expected an upscaler, one float input (N,3,H,W) and one output (N,3,sH,sW); "
            f"got {len(inputs)} inputs and {len(outputs)} outputs: {', '.join(told[:6])}"
        )
    open_sides = {side for side in inputs[0].shape if isinstance(side, str)}
    ranges = {side: Range(minimum=1, maximum=TILE) for side in open_sides}
    return Component(graph=path.name, inputs=inputs, outputs=outputs, ranges=ranges)


def _shows_a_picture(tensor: Tensor) -> bool:
    shape = tensor.shape
    channels = len(shape) == 4 and (shape[1] == 3 or isinstance(shape[1], str))
    return channels and tensor.dtype in _FLOATS and (isinstance(shape[0], str) or shape[0] == 1)


def _factor(path: Path, session: Session, probed: tuple[int, int]) -> int:
    """How many times a network enlarges, seen on a small grey picture."""
    grey = np.full((1, 3, *probed), 0.5, np.float32)
    shape = _run(session, grey).shape
    for factor in FACTORS:
        if shape == (1, 3, probed[0] * factor, probed[1] * factor):
            return factor
    raise CheckpointError(
        f"{path}: expected an upscaler, which makes a picture 2, 3 or 4 times as large; of "
        f"{written_shape(grey.shape)} it made {written_shape(shape)}"
    )


def _run(session: Session, seen: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(1,3,h,w) in [0,1] -> (1,3,sh,sw) float32."""
    [given], [name] = session.inputs.values(), session.outputs
    output = session.run({given.name: seen.astype(NUMPY_DTYPES[given.dtype])})[name]
    return np.asarray(output, np.float32)


def _is_fixed(session: Session) -> bool:
    [given] = session.inputs.values()
    return any(isinstance(side, int) for side in given.shape[2:])


def _side(declared: int | str, usual: int) -> int:
    return declared if isinstance(declared, int) else usual


def _picture(values: npt.NDArray[np.float32]) -> Image.Image:
    """(3,H,W) in [0,1] -> RGB, some rows at a time: they may lie in a file."""
    colours = np.empty((*values.shape[1:], 3), np.uint8)
    for row in range(0, len(colours), _ROWS):
        some = values[:, row : row + _ROWS]
        if not np.isfinite(some).all():
            raise SessionError("the upscaler gave values that are not numbers; use another file")
        colours[row : row + _ROWS] = np.rint(some.clip(0, 1) * 255).transpose(1, 2, 0)
    return Image.fromarray(colours)
