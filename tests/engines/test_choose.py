"""What runs a bundle: the best that can, or the one that is named and no other."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from dataclasses import replace

import pytest
from tests.bundle.micro import make_micro

from overpaint.bundle.errors import MissingExtraError, SessionError, UsageError
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.installed import install_command
from overpaint.engines.backends import BACKENDS
from overpaint.engines.choose import candidates, choose, open_session
from overpaint.engines.onnxruntime.cpu.engine import cpu_session


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(make_micro(tmp_path_factory.mktemp("b") / "micro"))


def test_the_processor_is_chosen_and_every_better_backend_says_why_not(bundle: Bundle) -> None:
    decision = choose(bundle)
    assert decision.chosen.device == "cpu"
    assert [better.device for better in decision.passed_over] == [
        "tensorrt",
        "tensorrt-rtx",
        "cuda",
    ]
    assert decision.passed_over[0].why.startswith("the bundle has no TensorRT plan")
    assert all(better.why for better in decision.passed_over)


def test_every_backend_says_why_it_runs_a_bundle_or_why_not(bundle: Bundle) -> None:
    every = candidates(bundle)
    assert [one.device for one in every] == list(BACKENDS)
    assert all(one.why for one in every)
    ranks = [BACKENDS[one.device].rank for one in every]
    assert [rank is None for rank in ranks] == sorted(one.on_request for one in every)
    assert [one.device for one in every if one.on_request] == ["openvino"]


def test_no_backend_is_asked_once_one_is_taken(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking may start a provider, and what is on request only has not been requested."""

    def refuse_to_be_asked(*names: str) -> None:
        for name in names:
            asked = replace(BACKENDS[name], how=lambda bundle: pytest.fail("it was asked"))
            monkeypatch.setitem(BACKENDS, name, asked)

    refuse_to_be_asked("openvino")
    assert choose(bundle).chosen.device == "cpu"
    refuse_to_be_asked("tensorrt", "tensorrt-rtx", "cuda")
    assert choose(bundle, "cpu").chosen.device == "cpu"


@pytest.mark.parametrize("device", ["tensorrt", "tensorrt-rtx", "cuda"])
def test_a_device_named_outright_is_never_replaced(bundle: Bundle, device: str) -> None:
    with pytest.raises(SessionError, match=f"--device {device} cannot run .*does not fall back"):
        choose(bundle, device)
    with pytest.raises(SessionError, match="does not fall back"):
        open_session(bundle, "unet", device=device)


def test_an_unknown_device_is_refused(bundle: Bundle) -> None:
    with pytest.raises(
        UsageError, match="one of auto, tensorrt, tensorrt-rtx, cuda, cpu, openvino"
    ):
        choose(bundle, "gpu")


def test_without_onnxruntime_the_extra_to_install_is_named(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for device in ("auto", "cpu"):
        with pytest.raises(MissingExtraError, match=re.escape(install_command("cpu"))):
            choose(bundle, device)
    with pytest.raises(MissingExtraError):
        cpu_session("unet", bundle.path("unet/model.onnx"), bundle.component("unet"))


def test_opening_a_bundle_imports_neither_numpy_nor_onnxruntime(bundle: Bundle) -> None:
    script = f"""
        import sys
        from overpaint.bundle.format.open import open_bundle
        import overpaint.engines.choose
        open_bundle({str(bundle.folder)!r})
        assert not {{"numpy", "onnxruntime", "shutil", "tempfile"}} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)
