"""How many threads a step should use on a machine that others use too.

Two threads that wait for each other at every operation run slower than one as soon as a second
process takes a core. So both are tried, again and again, and the faster one is used.
"""

import torch


class Threads:
    """Picks 1 or `most` threads for each step by the time that recent steps took."""

    def __init__(self, most: int) -> None:
        self._seconds = dict.fromkeys({1, most}, 0.0)
        self._steps = 0
        self._now = most

    def choose(self) -> None:
        """Set PyTorch's threads for the next step: every 24th step tries the other number."""
        best = min(self._seconds, key=self._seconds.__getitem__)
        other = max(self._seconds, key=self._seconds.__getitem__)
        self._now = other if self._steps % 24 == 0 else best
        self._steps += 1
        torch.set_num_threads(self._now)

    def took(self, seconds: float) -> None:
        """Tell what the step took."""
        before = self._seconds[self._now]
        self._seconds[self._now] = 0.7 * before + 0.3 * seconds if before else seconds
