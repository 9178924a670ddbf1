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


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1]",
        b"photo",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": "\\ud800"}',
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_no_object_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config\.json: expected") as refused:
        read_json(path)
    assert "\n" not in str(refused.value)


def test_a_key_that_stands_twice_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"a": {"steps_offset": 0, "steps_offset": 1}}')
    with pytest.raises(CheckpointError, match="the key 'steps_offset' stands twice in one object"):
        read_json(path)


def test_a_repeated_key_is_found_in_time_however_many_there_are(tmp_path: Path) -> None:
    """Counting each key's copies took 40,000 keys to 10 seconds."""
    path = tmp_path / "config.json"
    path.write_text("{" + ",".join(f'"{i}":0' for i in (*range(200_000), 199_999)) + "}")
    with pytest.raises(CheckpointError, match="'199999' stands twice"):
        read_json(path)


def test_a_file_larger_than_any_config_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b" " * 1_048_577)
    with pytest.raises(CheckpointError, match="expected at most 1 MB, got more"):
        read_json(path, largest=1 << 20)
