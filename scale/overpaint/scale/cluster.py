"""A Ray cluster: one that runs, or one begun here for as long as this process lives."""

from __future__ import annotations

import logging
import socket
from typing import Final

from overpaint.bundle.errors import MissingExtraError, UsageError

HERE = "local"
"""The address of a cluster that is begun on this machine and ends with this process."""

_REACHED_S: Final = 5.0


def connect(address: str = HERE) -> None:
    """Join the cluster at `address`: HOST:PORT, "auto" for one that runs here, or `HERE`.

    Does nothing where this process has joined one already.

    Raises:
        MissingExtraError: Ray is not installed.
        UsageError: nothing answers there.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError.told_by(error, "ray", "ray") from error
    if ray.is_initialized():
        return
    if address not in (HERE, "auto"):
        _knock(address)
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    except (ConnectionError, ValueError) as error:
        raise UsageError(f"no Ray cluster at {address}: {error}") from error


def _knock(address: str) -> None:
    """Ray itself waits for minutes where nobody is."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        raise UsageError(f"ray: expected HOST:PORT, auto or {HERE}, got {address!r}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACHED_S).close()
    except OSError as error:
        raise UsageError(f"no Ray cluster at {address}: {error.strerror or error}") from error
