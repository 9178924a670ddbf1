"""A minute of the soak, for `-m soak`: nothing is lost, comes twice or grows."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.soak.__main__ import soak


@pytest.mark.soak
def test_a_minute_of_soak_loses_nothing(tmp_path: Path) -> None:
    figures = soak(1.0, tmp_path)
    assert figures["kills"] >= 1
    assert figures["accepted"] > 50
    assert figures["well"], figures
