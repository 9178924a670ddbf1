"""A level is compared with exact once for each bundle, and refused where its pictures suffer."""

from __future__ import annotations

from pathlib import Path

import pytest

from overpaint.bundle.errors import UsageError
from overpaint.runtime import Img2Img, fidelity_gate

EXAMPLE = Path(__file__).parents[2] / "examples" / "summer.png"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "overpaint" / "fidelity"


def test_a_level_is_compared_once_and_every_result_says_how_far_it_is(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Img2Img.open(device="cpu") as pipe:
        assert pipe(EXAMPLE, "winter", strength=0.5, seed=1).fidelity_db is None
        assert not cache.exists(), "exact is not compared with itself"
        told = pipe(EXAMPLE, "winter", strength=0.5, seed=1, fidelity="balanced").fidelity_db
        assert told is not None
        assert told > fidelity_gate.BARS_DB["balanced"]
    monkeypatch.setattr(fidelity_gate, "_paint", None)  # which would be called to measure anew
    with Img2Img.open(device="cpu") as pipe:
        again = pipe(EXAMPLE, "winter", strength=0.5, seed=1, fidelity="balanced").fidelity_db
    assert again == pytest.approx(told, abs=0.01)


def test_a_level_below_the_bar_is_refused_and_its_parts_are_not(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fidelity_gate, "BARS_DB", {"draft": 98.0})
    with Img2Img.open(device="cpu") as pipe:
        with pytest.raises(UsageError, match=r"come out at \d\d\.\d dB against exact in draft"):
            pipe(EXAMPLE, "winter", fidelity="draft")
        assert pipe(EXAMPLE, "winter", strength=0.9, forecast=2).fidelity_db is None
