"""Standard normal noise from a seed: torch's CPU stream, reproduced in NumPy, or NumPy's own.

    noise = generator("torch", seed=7)
    noise.normal((1, 4, 64, 64))

are the numbers of torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(7)).

Draws follow each other as they do in torch: what one draw leaves behind, the next one finds.
"""

from __future__ import annotations

import math
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from overpaint.bundle.errors import UsageError

from .choices import RNGS

Array = NDArray[np.float32]

BLOCK = 16
"""torch fills normal noise in blocks of 16: eight radii, eight angles."""

CHUNK = 4096 * BLOCK
"""Numbers made at a time. What lies in between stays in the cache: larger draws cost twice as much
in one piece."""


class Generator(Protocol):
    """A stream of standard normal numbers."""

    def normal(self, shape: tuple[int, ...]) -> Array:
        """The next numbers of the stream, in C order, float32."""

    def fill(self, out: Array) -> None:
        """The same, written to a C-contiguous float32 array."""


def generator(rng: str, seed: int) -> Generator:
    """The stream of `rng` ("torch" or "numpy") that starts at `seed`, −2⁶³ to 2⁶⁴−1.

    torch's CPU generator keeps a seed's low 32 bits only; NumPy's uses all of it.
    """
    if rng not in RNGS:
        raise UsageError(f"rng: expected one of {', '.join(RNGS)}, got {rng!r}")
    if isinstance(seed, bool) or not isinstance(seed, int) or not -(2**63) <= seed < 2**64:
        raise UsageError(f"seed: expected a whole number from -2^63 to 2^64-1, got {seed!r}")
    seed %= 2**64
    return TorchGenerator(seed) if rng == "torch" else NumpyGenerator(seed)


class NumpyGenerator:
    """NumPy's own: PCG64 and its ziggurat in float32."""

    def __init__(self, seed: int) -> None:
        self._stream = np.random.default_rng(seed)

    def normal(self, shape: tuple[int, ...]) -> Array:
        return self._stream.standard_normal(shape, np.float32)

    def fill(self, out: Array) -> None:
        self._stream.standard_normal(dtype=np.float32, out=out)


class TorchGenerator:
    """torch's CPU generator, MT19937, and the two ways in which its randn uses it.

    Up to 15 numbers are drawn one by one in double precision, in pairs whose second half waits for
    the next such number, be it in another draw; from 16 on, in blocks in single precision.
    """

    def __init__(self, seed: int) -> None:
        bits = np.random.MT19937()
        # the way init_genrand fills the state; MT19937(seed) would hash the seed first
        state = np.random.RandomState(seed & 0xFFFFFFFF).get_state(legacy=False)
        bits.state = cast("Any", state)
        self._stream = np.random.Generator(bits)
        self._waiting: float | None = None

    def normal(self, shape: tuple[int, ...]) -> Array:
        out = np.empty(shape, np.float32)
        self.fill(out)
        return out

    def fill(self, out: Array) -> None:
        flat = out.reshape(-1)
        if not np.shares_memory(flat, out):
            raise ValueError("fill needs a C-contiguous array")
        if flat.size < BLOCK:
            flat[:] = [self._one() for _ in range(flat.size)]
            return
        whole = flat.size - flat.size % BLOCK
        for start in range(0, whole, CHUNK):
            part = flat[start : min(start + CHUNK, whole)]
            _box_muller(self._uniforms(part.size), part)
        if whole < flat.size:
            # torch spends uniforms on the short tail as well, then draws the last 16 once more
            self._uniforms(flat.size - whole)
            _box_muller(self._uniforms(BLOCK), flat[-BLOCK:])

    def _uniforms(self, count: int) -> Array:
        """`count` numbers of [0, 1) in 24 bits."""
        words = self._words(count)
        np.bitwise_and(words, 0xFFFFFF, out=words)
        return words.astype(np.float32) * np.float32(2**-24)

    def _words(self, count: int) -> NDArray[np.uint32]:
        """The next `count` words of 32 bits, as MT19937 puts them out."""
        return self._stream.integers(0, 2**32, count, np.uint32)

    def _one(self) -> float:
        if self._waiting is not None:
            value, self._waiting = self._waiting, None
            return value
        angle, magnitude = self._double(), self._double()
        radius = math.sqrt(-2 * math.log1p(-magnitude))
        self._waiting = radius * math.sin(2 * math.pi * angle)
        return radius * math.cos(2 * math.pi * angle)

    def _double(self) -> float:
        """A number of [0, 1) in 53 bits, from two words, high word first."""
        high, low = map(int, self._words(2))
        return (((high << 32) | low) & (2**53 - 1)) * 2.0**-53


def _box_muller(uniforms: Array, out: Array) -> None:
    """Box & Muller 1958 on blocks of 16: u₁ of eight, u₂ of eight; cosines, then sines."""
    halves = uniforms.reshape(-1, 2, BLOCK // 2)
    radius = np.sqrt(np.float32(-2) * np.log(np.float32(1) - halves[:, 0]))
    theta = np.float32(2 * math.pi) * halves[:, 1]
    blocks = out.reshape(halves.shape)
    np.multiply(radius, np.cos(theta), out=blocks[:, 0])
    np.multiply(radius, np.sin(theta), out=blocks[:, 1])
