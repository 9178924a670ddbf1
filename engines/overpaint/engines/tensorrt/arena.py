"""The memory that engines put their activations in: one block, as large as the greediest needs.

Engines on one stream never run at the same time, so they may all use the same block. A block that
grows has another address, and whatever was recorded with the old one is void: `generation` says so.
"""

from __future__ import annotations

from typing import Protocol


class Memory(Protocol):
    """What the arena asks of CUDA."""

    def allocate(self, size: int) -> int: ...

    def free(self, address: int) -> None: ...

    def wait(self) -> None: ...


class Arena:
    """One block of device memory and its users. Its caller holds the lock."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._needs: dict[object, int] = {}
        self.address = 0
        self.size = 0
        self.generation = 0

    def join(self, user: object, size: int) -> None:
        """Let `user` in, or say that it needs `size` bytes from now on. Where there is no room for
        so many, everything stays as it was, but for the block's address."""
        if size > self.size:
            former = self.size
            try:
                self._replace(size)
            except BaseException:
                self._replace(former)
                raise
        self._needs[user] = size

    def need_of(self, user: object) -> int:
        """The bytes that `user` said it needs; 0 of who is not in."""
        return self._needs.get(user, 0)

    def leave(self, user: object) -> None:
        """Let `user` go; the last one frees the block. May be repeated."""
        self._needs.pop(user, None)
        if not self._needs:
            self._replace(0)

    def _replace(self, size: int) -> None:
        if self.size:
            self._memory.wait()
            self._memory.free(self.address)
            self.address = self.size = 0
        self.generation += 1
        if size:
            self.address = self._memory.allocate(size)
            self.size = size
