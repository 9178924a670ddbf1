"""The sizes that engines take."""

from __future__ import annotations

from dataclasses import dataclass

from overpaint.bundle.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """The image sides that a bundle takes, in pixels: from `minimum` to `maximum` by `multiple`."""

    multiple: int
    minimum: int
    maximum: int

    def check(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return `size` (width, height), or raise UsageError naming the nearest one that fits."""
        width, height = size
        nearest = self.nearest(size)
        if size != nearest:
            raise UsageError(
                f"expected a size whose sides are multiples of {self.multiple} from "
                f"{self.minimum} to {self.maximum}, got {width}x{height}; "
                f"the nearest is {nearest[0]}x{nearest[1]}"
            )
        return size

    def floor(self, size: tuple[int, int]) -> tuple[int, int]:
        """The size an image gets if none was asked for: each side floored to the multiple."""
        width, height = size
        floored = width - width % self.multiple, height - height % self.multiple
        if min(floored) < self.minimum or max(floored) > self.maximum:
            wanted = self.nearest(size)
            raise UsageError(
                f"expected a picture with sides from {self.minimum} to {self.maximum} pixels, "
                f"got {width}x{height}; ask for a size, for example {wanted[0]}x{wanted[1]}"
            )
        return floored

    def shrunk(self, size: tuple[int, int], pixels: int) -> tuple[int, int]:
        """The largest size of the same proportions, nearly, that fits and has `pixels` at most."""
        width, height = size
        scale = min((pixels / (width * height)) ** 0.5, self.maximum / max(size))
        return self.nearest((round(width * scale), round(height * scale)))

    def nearest(self, size: tuple[int, int]) -> tuple[int, int]:
        """The nearest size that fits."""
        width, height = (
            min(max(int(side / self.multiple + 0.5) * self.multiple, self.minimum), self.maximum)
            for side in size
        )
        return width, height
