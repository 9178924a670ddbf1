"""Whatever our CUDA code asks of onnxruntime, the real module has: found by walking our source."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from tests.doubles.cuda_double import Gpu, double

from overpaint.engines.onnxruntime import cuda

ROOM = Path(cuda.__file__).parent
SOURCES = sorted(ROOM.glob("*.py"))

# What our names for onnxruntime's things are. Names are the same in every file.
THINGS = {
    "runtime": onnxruntime,
    "self._runtime": onnxruntime,
    "self._engine": onnxruntime.InferenceSession,
    "engine": onnxruntime.InferenceSession,
    "trial": onnxruntime.InferenceSession,
    "binding": onnxruntime.IOBinding,
    "plan.binding": onnxruntime.IOBinding,
    "run_options": onnxruntime.RunOptions,
    "values": onnxruntime.OrtValue,
    "value": onnxruntime.OrtValue,
    "self.value": onnxruntime.OrtValue,
    "self._host": onnxruntime.OrtValue,
    "memory": onnxruntime.OrtMemoryInfo,
    "device": onnxruntime.OrtEpDevice,
}


def asked() -> Iterator[tuple[str, Any, str]]:
    """(where, thing, attribute) for each attribute that we take of onnxruntime's things."""
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Attribute):
                receiver = ast.unparse(node.value)
                parent, _, rest = receiver.partition(".")
                if receiver in THINGS:
                    yield f"{source.name}:{node.lineno}", THINGS[receiver], node.attr
                elif parent in THINGS and inspect.ismodule(THINGS[parent]) and "." not in rest:
                    yield f"{source.name}:{node.lineno}", getattr(THINGS[parent], rest), node.attr


def test_every_attribute_that_we_take_is_there() -> None:
    found = list(asked())
    missing = [
        f"{where}: {thing.__name__}.{name}"
        for where, thing, name in found
        if not hasattr(thing, name)
    ]
    assert not missing
    names = {name for _, _, name in found}
    assert {
        "run_with_iobinding", "release_captured_graph", "bind_ortvalue_input", "update_inplace",
        "add_run_config_entry", "preload_dlls", "copy_tensors", "HOST_ACCESSIBLE",
        "get_input_memory_infos", "get_ep_devices",
    } <= names, "the walk sees what we do"  # fmt: skip


def test_nothing_of_onnxruntime_is_named_otherwise() -> None:
    """A thing that a method of theirs returns has one of the names above, so that it is checked."""
    makers = {"io_binding", "RunOptions", "SessionOptions", "InferenceSession"}
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call):
                made_by = node.value.func
                if isinstance(made_by, ast.Attribute) and made_by.attr in makers:
                    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                    for target in targets:
                        assert ast.unparse(target) in THINGS, f"{source.name}:{node.lineno}"


def test_every_keyword_that_we_pass_is_taken() -> None:
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            receiver = ast.unparse(node.func.value)
            if receiver not in THINGS or not node.keywords:
                continue
            called = getattr(THINGS[receiver], node.func.attr)
            taken = inspect.signature(called).parameters
            for keyword in node.keywords:
                known = keyword.arg in taken or f'"{keyword.arg}"' in inspect.getsource(called)
                assert known, f"{source.name}:{node.lineno}: {keyword.arg}"


@pytest.mark.parametrize("name", ["InferenceSession", "IOBinding", "OrtValue"])
def test_the_double_has_nothing_that_the_real_one_lacks(name: str) -> None:
    fake, true = getattr(double(Gpu()), name), getattr(onnxruntime, name)
    for method in vars(fake):
        if method.startswith("_") and method != "__init__":
            continue
        assert hasattr(true, method), method
        if method == "__init__" and name != "InferenceSession":
            continue  # onnxruntime makes these itself
        theirs = list(inspect.signature(getattr(true, method)).parameters)
        ours = [p for p in inspect.signature(getattr(fake, method)).parameters if p != "kwargs"]
        assert set(ours) <= set(theirs), (method, ours, theirs)


def test_the_double_has_nothing_in_the_module_that_the_real_one_lacks() -> None:
    assert set(vars(double(Gpu()))) <= set(dir(onnxruntime))
