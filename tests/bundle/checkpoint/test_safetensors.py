"""safetensors in NumPy: the reference library agrees, and the broken are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from overpaint.bundle.checkpoint.safetensors import (
    ITEM_SIZES,
    of_array,
    read_array,
    read_header,
    write_safetensors,
)
from overpaint.bundle.errors import CheckpointError

SHAPES = st.lists(st.integers(0, 5), max_size=4).map(tuple)
DTYPES = st.sampled_from([np.float32, np.float16, np.float64, np.int64, np.uint8, np.bool_])
fuzzed = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@fuzzed
@given(st.dictionaries(st.text(min_size=1, max_size=8), st.tuples(SHAPES, DTYPES), max_size=6))
def test_the_reference_library_reads_what_is_written(
    tmp_path: Path, specs: dict[str, tuple[tuple[int, ...], Any]]
) -> None:
    specs.pop("__metadata__", None)
    rng = np.random.default_rng(0)
    arrays = {
        name: np.asarray(rng.integers(0, 2, shape)).astype(dtype)
        for name, (shape, dtype) in specs.items()
    }
    path = tmp_path / "file.safetensors"
    write_safetensors(path, {name: of_array(array) for name, array in arrays.items()}, {"a": "b"})
    theirs = safetensors.numpy.load_file(path)
    ours, metadata = read_header(path)
    assert metadata == {"a": "b"}
    assert set(theirs) == set(ours) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(theirs[name], array)
        np.testing.assert_array_equal(read_array(ours[name]), array)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_the_reference_library_writes_is_read_to_the_bit(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    tensors = {"a.weight": torch.randn(7, 5).to(dtype), "b": torch.randn(3).to(dtype)}
    path = tmp_path / "file.safetensors"
    safetensors.torch.save_file(tensors, path, {"format": "pt"})
    stored, metadata = read_header(path)
    assert metadata == {"format": "pt"}
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(read_array(stored[name]), tensor.float().numpy())


def broken(header: object, body: bytes = bytes(8)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def entry(begin: int = 0, end: int = 8, shape: object = (2,), dtype: object = "F32") -> Any:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "0 bytes"),
        (b"PK\3\4" + bytes(60), "claims a header"),
        (broken(b"{nope}"), "header"),
        (broken(b"[]"), "header"),
        (broken(b"\xff\xfe{}"), "header"),
        (broken({"__metadata__": {"a": 1}}, b""), "header"),
        (broken({"a": {"dtype": "F32"}}), "malformed"),
        (broken({"a": entry() | {"more": 1}}), "malformed"),
        (broken({"a": entry(shape=[2.5])}), "malformed"),
        (broken({"a": entry(shape=[1] * 100_000)}), "malformed .*length <= 64"),
        (broken({"a": entry(shape=[10**30] * 64)}), "malformed"),
        (broken(b'{"a": ' + b"[" * 100_000), "header"),
        (broken(b'{"a": {"shape": ' + b"[" * 900 + b"]" * 900 + b"}}"), "malformed"),
        (broken({"a\n" * 1000: entry(dtype="F33")}), "not a whole"),
        (broken({"a": entry(shape=[-1, -2])}), "negative"),
        (broken({"a": entry(begin=-8, end=0)}), "negative"),
        (broken({"a": entry(shape=[2**60] * 100_000)}), "malformed"),
        (broken({"a": entry(end=10**30)}), "malformed"),
        (broken(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "not what the format says"),
        (broken({"a": entry(dtype="F33")}), "unknown"),
        (broken({"a": entry(end=4)}), "8 bytes, not 4"),
        (broken({"a": entry(shape=[2**40, 2**40])}), "not 8"),
        (broken({"a": entry(), "b": entry()}), "overlaps"),
        (broken({"a": entry(), "b": entry(4, 12)}, bytes(12)), "overlaps"),
        (broken({"a": entry(8, 16)}, bytes(16)), "hole"),
        (broken({"a": entry()}, bytes(7)), "file at"),
        (broken({"a": entry()}, bytes(9)), "file at"),
        (broken({"a": entry()}, b""), "file at"),
    ],
)
def test_a_malformed_file_is_refused_in_one_line(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=says) as caught:
        read_header(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"absent.safetensors cannot be read: No such file"):
        read_header(tmp_path / "absent.safetensors")


@fuzzed
@given(st.data())
def test_a_damaged_file_is_read_right_or_refused_but_never_anything_else(
    tmp_path: Path, data: st.DataObject
) -> None:
    path = tmp_path / "file.safetensors"
    arrays = {"one": np.arange(6, dtype=np.float32), "two": np.arange(4, dtype=np.float16)}
    write_safetensors(path, {name: of_array(array) for name, array in arrays.items()})
    good = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(good[: data.draw(st.integers(0, len(good)))])
    try:
        tensors, _ = read_header(path)
    except CheckpointError as error:
        if "\n" in str(error):
            raise
        return
    for tensor in tensors.values():
        assert tensor.offset + tensor.size <= path.stat().st_size
        assert tensor.dtype in ITEM_SIZES
