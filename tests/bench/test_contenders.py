"""Who may take part, and what brings each of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.checkout import HOUSE

from overpaint.bench.contenders import GENAI, PEERS, SDCPP, peer
from overpaint.bundle.errors import UsageError


def test_peers_that_need_other_versions_have_environments_of_their_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path))
    apart = {
        name: peer(name, None) for name in PEERS if peer(name, None).command[0] != sys.executable
    }
    assert set(apart) == {"optimum", GENAI, SDCPP}
    for name, contender in apart.items():
        folder = tmp_path / "overpaint" / name
        assert contender.command[0] == os.fspath(folder / "bin" / "python")
        assert (contender.install or "").startswith(f"python3 -m venv {folder} && ")


def test_what_they_need_is_read_without_any_package() -> None:
    """By the interpreter that makes an environment (tests/interop/make_environment.sh)."""
    read = "from overpaint.bench.environments import OPTIMUM; print(*OPTIMUM)"
    command = [sys.executable, "-S", "-c", read]
    bare = {"PYTHONPATH": os.fspath(HOUSE / "bench")}
    done = subprocess.run(command, env=bare, capture_output=True, text=True, check=True)
    assert "optimum-onnx" in done.stdout


def test_a_name_that_is_nobodys_is_refused() -> None:
    with pytest.raises(UsageError, match="expected names out of diffusers, compile"):
        peer("comfyui", None)


@pytest.mark.parametrize(
    ("name", "package"), [(GENAI, "openvino_genai"), (SDCPP, "stable_diffusion_cpp")]
)
def test_a_peer_is_missing_by_the_name_of_its_package(name: str, package: str) -> None:
    """Started by the tests' own interpreter, which has no such package."""
    *_, program = peer(name, None).command
    job = json.dumps({"asked": 0.0})
    done = subprocess.run([sys.executable, program], input=job, capture_output=True, text=True)
    assert json.loads(done.stdout) == {"missing": package}
