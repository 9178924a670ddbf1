"""A bundle's weights as the graph computes with them: proven, then read, converted where needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from overpaint.bundle.checkpoint.bound import prove, read_as
from overpaint.bundle.checkpoint.safetensors import (
    Stored,
    ToWrite,
    of_array,
    write_safetensors,
)
from overpaint.bundle.errors import CheckpointError
from overpaint.bundle.graph.weights import Piece, Slot, Weight

FILE = "model.safetensors"
QKV = np.arange(24, dtype=np.float16).reshape(6, 4)
SLOT = {"k": Slot("F16", (2, 4))}


@pytest.fixture
def stored(tmp_path: Path) -> dict[str, Stored]:
    """A fused query, key and value, a bias, and one number that half precision has not."""
    big = np.array([1.0, 70_000.0], np.float32)
    brain = np.array([1.5, -2.0], np.float32).view(np.uint32) >> 16
    return write_safetensors(
        tmp_path / FILE,
        {
            "qkv": of_array(QKV),
            "bias": of_array(np.ones(4, np.float16)),
            "big": of_array(big),
            "brain": ToWrite("BF16", (2,), brain.astype("<u2").tobytes),
        },
    )


def whole(one: Stored) -> Weight:
    return Weight(one.dtype, (Piece(FILE, one.offset, one.size),))


def keys(stored: dict[str, Stored]) -> Weight:
    return Weight("F16", (Piece(FILE, stored["qkv"].offset + 16, 16),))


def test_rows_of_a_tensor_are_read_as_they_lie(tmp_path: Path, stored: dict[str, Stored]) -> None:
    places = prove(tmp_path, SLOT, {"k": keys(stored)})
    assert read_as("k", places["k"], "F16").tobytes() == QKV[2:4].tobytes()


def test_rows_in_several_places_come_one_after_the_other(
    tmp_path: Path, stored: dict[str, Stored]
) -> None:
    at = stored["qkv"].offset
    swapped = Weight("F16", (Piece(FILE, at + 8, 8), Piece(FILE, at, 8)))
    places = prove(tmp_path, SLOT, {"k": swapped})
    assert read_as("k", places["k"], "F16").tobytes() == QKV[[1, 0]].tobytes()


@pytest.mark.parametrize("dtype", ["F16", "F32"])
def test_what_is_stored_otherwise_is_converted(
    tmp_path: Path, stored: dict[str, Stored], dtype: str
) -> None:
    places = prove(tmp_path, {"b": Slot(dtype, (2,))}, {"b": whole(stored["brain"])})
    numbers = read_as("b", places["b"], dtype).view({"F16": "<f2", "F32": "<f4"}[dtype])
    np.testing.assert_array_equal(numbers, [1.5, -2.0])


def test_what_half_precision_does_not_go_up_to_is_refused(
    tmp_path: Path, stored: dict[str, Stored]
) -> None:
    places = prove(tmp_path, {"b": Slot("F16", (2,))}, {"b": whole(stored["big"])})
    with pytest.raises(CheckpointError, match="F16 does not go up to; make the bundle with"):
        read_as("b", places["b"], "F16")


def test_a_file_that_became_shorter_is_refused(tmp_path: Path, stored: dict[str, Stored]) -> None:
    places = prove(tmp_path, SLOT, {"k": keys(stored)})
    (tmp_path / FILE).write_bytes(b"")
    with pytest.raises(CheckpointError, match="ended while 'k' was read"):
        read_as("k", places["k"], "F16")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (lambda at: Weight("F16", (Piece(FILE, at + 2, 16),)), "not whole rows"),
        (lambda at: Weight("F32", (Piece(FILE, at, 32),)), "'qkv' is F16"),
        (lambda at: Weight("F16", (Piece(FILE, at, 8),)), "16 bytes, and the graph points at 8"),
        (lambda at: Weight("F16", (Piece(FILE, at + 40, 16),)), "'qkv' ends at"),
        (lambda at: Weight("F16", (Piece(FILE, 0, 16),)), "which no tensor is at"),
    ],
)
def test_what_is_not_a_tensor_of_the_file_or_its_rows_is_refused(
    tmp_path: Path, stored: dict[str, Stored], wrong: Callable[[int], Weight], why: str
) -> None:
    with pytest.raises(CheckpointError, match=why):
        prove(tmp_path, SLOT, {"k": wrong(stored["qkv"].offset)})


def test_a_weight_that_the_graph_asks_for_and_does_not_have_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="asks for the weight 'k', and has none"):
        prove(tmp_path, SLOT, {})
