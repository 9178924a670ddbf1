"""How much of the server one address may hold: its connections, its jobs.

This machine's own addresses are not counted: behind them are its owner, or a proxy with everybody.
"""

from __future__ import annotations

import ipaddress
from collections import Counter


class Share:
    """At most `most` at once for each address. On one thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: Counter[str] = Counter()

    def take(self, address: str | None) -> bool:
        """Whether there is one more; `give_back` each that was taken."""
        if address is not None and not _is_own(address) and self._held[address] >= self._most:
            return False
        self._held[address or ""] += 1
        return True

    def give_back(self, address: str | None) -> None:
        self._held[address or ""] -= 1
        if self._held[address or ""] <= 0:
            del self._held[address or ""]


def _is_own(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
