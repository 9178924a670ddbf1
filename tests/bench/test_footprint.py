"""What an environment weighs, and what a report never tells."""

from __future__ import annotations

import platform
from pathlib import Path

import msgspec
from tests.bench.reports import report, run

from overpaint.bench.footprint import installed_bytes


def test_an_environment_weighs_what_is_installed_but_pip_and_setuptools(tmp_path: Path) -> None:
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    for name, size in {
        "numpy/core.so": 1000,
        "numpy-2.dist-info/METADATA": 10,
        "pip/main.py": 500,
        "pip-25.dist-info/METADATA": 500,
        "setuptools/a.py": 500,
        "_distutils_hack/__init__.py": 500,
        "distutils-precedence.pth": 500,
    }.items():
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_bytes(bytes(size))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_bytes(bytes(500))
    assert installed_bytes(tmp_path) == 1010


def test_a_report_names_the_machine_but_neither_host_nor_user() -> None:
    text = msgspec.json.encode(report(run([1.0, 2.0]))).decode()
    assert report(run([1.0])).machine.processor in text
    names = {platform.node(), str(Path.home())}
    assert not [name for name in names if len(name) > 3 and name in text]
