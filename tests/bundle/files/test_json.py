"""Reading the JSON of other people's checkpoints."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from overpaint.bundle.errors import CheckpointError
from overpaint.bundle.files.json import read_json


def test_what_diffusers_writes_of_its_solvers_is_read(tmp_path: Path) -> None:
    """DPMSolverMultistepScheduler.save_pretrained writes an infinity, which JSON proper has not."""
    path = tmp_path / "scheduler_config.json"
    path.write_text('{"_class_name": "X", "lambda_min_clipped": -Infinity}')
    assert read_json(path)["lambda_min_clipped"] == -math.inf


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000, b"photo"])
def test_what_is_no_object_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config\.json: expected") as refused:
        read_json(path)
    assert "\n" not in str(refused.value)
