"""The package onnxruntime: what it leaves behind, and what is said where it does not load."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.bundle.micro import make_micro

from overpaint.bundle.errors import BrokenExtraError
from overpaint.bundle.format.open import open_bundle
from overpaint.engines.choose import choose
from overpaint.engines.describe import describe


def test_onnxruntime_leaves_no_file_in_a_users_home(tmp_path: Path) -> None:
    """It keeps a device id and a database of events there, unless it is told not to."""
    graph = make_micro(tmp_path / "micro") / "unet" / "model.onnx"
    home = tmp_path / "home"
    home.mkdir()
    program = (
        "from overpaint.engines.onnxruntime.library import import_onnxruntime, session_options\n"
        "runtime = import_onnxruntime()\n"
        f"runtime.InferenceSession({str(graph)!r}, session_options(runtime, 1))\n"
    )
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("ORT_", "XDG_"))}
    told = subprocess.run(
        [sys.executable, "-c", program],
        env=keep | {"HOME": str(home)},
        capture_output=True,
        text=True,
    )
    assert (told.returncode, told.stderr) == (0, "")
    assert list(home.rglob("*")) == []


@pytest.mark.parametrize("package", ["onnxruntime", "openvino"])
def test_a_package_that_does_not_load_is_not_said_to_be_missing(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "packages" / package
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise ImportError('libgomp.so.1: cannot open')")
    monkeypatch.syspath_prepend(folder.parent)
    monkeypatch.delitem(sys.modules, package, raising=False)
    bundle = open_bundle(make_micro(tmp_path / "micro"))
    told = f"{package} is installed, but does not load here: libgomp.so.1: cannot open"
    if package == "onnxruntime":
        with pytest.raises(BrokenExtraError) as caught:
            choose(bundle)
        assert str(caught.value) == told
        why = {one.device: one.why for one in describe(bundle).devices}
        assert why["cpu"] == why["cuda"] == told
    else:
        from overpaint.engines.openvino import compiled

        with pytest.raises(BrokenExtraError) as caught:
            compiled.import_openvino()
        assert str(caught.value) == told
