"""In half precision the families whose VAE stays in float32 are still compared with diffusers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.bench.test_command import QUICK, overpaint

from overpaint.bench.records import Report

Export = Callable[..., Path]


@pytest.mark.parametrize("family", ["sdxl", pytest.param("sd3", marks=pytest.mark.parity)])
def test_diffusers_computes_what_ours_does_where_the_vae_overflows_in_half_precision(
    family: str, request: pytest.FixtureRequest, exported: Export
) -> None:
    checkpoint: Path = request.getfixturevalue(f"tiny_{family}")
    bundle = exported(f"{family}.float16.bundle", checkpoint, dtype="float16")
    peer = ("--checkpoint", checkpoint, "--against", "diffusers")
    done = overpaint(bundle, *QUICK, *peer, "--device", "cpu", "--json")
    assert done.returncode == 0, done.stderr
    ours, theirs = msgspec.json.decode(done.stdout, type=Report).runs
    assert theirs.status == "ok", theirs.why
    assert theirs.work is not None
    assert theirs.work == ours.work
    assert theirs.work.precision["vae_decoder"] == "float32"
    assert theirs.work.precision["text_encoder"] == "float16"
    assert theirs.ratio is not None
