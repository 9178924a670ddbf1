"""The study that builds plans of TensorRT for RTX: what it measures, and where it stops."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import rtx_builds
from tests.doubles.tensorrt_here import pocket

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it asks Linux for memory")


def test_each_component_is_built_in_a_process_of_its_own(tmp_path: Path) -> None:
    bundle = pocket(tmp_path / "pocket")
    rows = list(rtx_builds.measure(bundle, "pocket", "float32", 10**10, shared=False))
    assert [row.component for row in rows] == list(bundle.manifest.components)
    for row in rows:
        assert row.failed == ""
        assert row.plan_mb is not None
        assert row.plan_mb > row.weights_mb / 2
        assert row.own_mb is not None
        assert row.peak_mb is not None
        assert 50 < row.own_mb <= row.peak_mb
    assert not list(bundle.folder.glob("*.plan"))


def test_what_would_not_fit_is_not_tried(tmp_path: Path) -> None:
    rows = rtx_builds.measure(pocket(tmp_path / "p"), "pocket", "float32", 10**8, shared=False)
    for row in rows:
        assert row.failed == "not tried: it may want more than 95 MB"
        assert row.seconds is None
        assert "not tried" in rtx_builds.table([rtx_builds.asdict(row)])


def test_a_process_that_takes_too_much_is_ended() -> None:
    greedy = "import time; kept = bytearray(300_000_000); time.sleep(60)"
    ran = rtx_builds.run([sys.executable, "-c", greedy], 100_000_000)
    assert ran.failed.startswith("stopped as it took ")
    assert ran.seconds < 30
