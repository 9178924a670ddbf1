"""Programs that a few tests run and that Python does not bring: a browser, curl, a compiler."""

from __future__ import annotations

import os
import shutil

import pytest


def needed(program: str) -> str:
    """Where it is. Without it the test is skipped on a person's machine, and fails in CI, where
    `.ci/run` has installed it: a skipped test there would be one that nobody runs."""
    path = shutil.which(program)
    if path is None:
        give_up = pytest.fail if os.environ.get("CI") else pytest.skip
        give_up(f"{program} is not on this machine; .ci/run names the package that brings it")
    return path
