"""A backend is one module in the backends' folder: nothing else has to name it."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from overpaint.engines.backends import BACKENDS
from overpaint.runtime.default_bundle import EMBEDDED

PICTURE = Path(__file__).parents[2] / "examples/summer.png"

TOY = '''
"""The processor, by nothing but a few lines."""

from overpaint.engines.backend import Backend


class Toy:
    device = "a toy"

    def __init__(self, graph):
        import onnxruntime

        self.graph = onnxruntime.InferenceSession(graph)
        self.names = [one.name for one in self.graph.get_outputs()]

    def run(self, feed, held):
        return dict(zip(self.names, self.graph.run(self.names, dict(feed))))

    def close(self):
        pass


def open_session(bundle, component, asked):
    from overpaint.engines.session.session import Session

    described = bundle.component(component)
    return Session(component, described, Toy(bundle.folder / described.graph))


BACKEND = Backend(
    name="toy",
    rank=None,
    how=lambda bundle: f"for {bundle.manifest.name}",
    open_session=open_session,
    precisions=("f32", "f64"),
)
'''

# The folder with the toy is added to the package's before the package is imported.
BEGIN = """
import importlib.util, sys
package = importlib.util.find_spec("overpaint.engines.backends")
package.submodule_search_locations.append({folder!r})
sys.modules[package.name] = importlib.util.module_from_spec(package)
package.loader.exec_module(sys.modules[package.name])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "backends").mkdir()
    (tmp_path / "backends/toy.py").write_text(TOY)
    return tmp_path / "backends"


def run(folder: Path, script: str) -> str:
    """What `script` prints in a process where the toy lies among the backends."""
    whole = BEGIN.format(folder=str(folder)) + textwrap.dedent(script)
    done = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def overpaint(folder: Path, *words: object) -> str:
    return run(
        folder,
        f"""
        sys.argv = {["overpaint", *map(str, words)]!r}
        from overpaint.cli.main import main
        main()
        """,
    )


def test_a_toy_is_chosen_by_name_and_never_unasked(folder: Path) -> None:
    told = run(
        folder,
        f"""
        import json
        from overpaint.bundle.format.open import open_bundle
        from overpaint.engines.choose import candidates, choose, open_session
        bundle = open_bundle({str(EMBEDDED)!r})
        chosen = choose(bundle, "toy", "f64")
        with open_session(bundle, "unet", chosen) as session:
            device = session.device
        print(json.dumps({{
            "candidates": [one.device for one in candidates(bundle)],
            "on_request": [one.device for one in candidates(bundle) if one.on_request],
            "auto": choose(bundle).chosen.device,
            "why": chosen.chosen.why,
            "precision": chosen.precision,
            "device": device,
        }}))
        """,
    )
    assert json.loads(told) == {
        "candidates": ["tensorrt", "tensorrt-rtx", "cuda", "cpu", "openvino", "toy"],
        "on_request": ["openvino", "toy"],
        "auto": "cpu",
        "why": "for pocket",
        "precision": "f64",
        "device": "a toy",
    }


def test_the_commands_name_a_toy_and_paint_with_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")  # a narrow table breaks words
    help_text = " ".join(overpaint(folder, "run", "--help").replace("│", " ").split())
    assert "openvino, toy" in help_text
    assert "f64" in help_text
    output = tmp_path / "out.png"
    words = (PICTURE, "winter", "--size", "64x64", "--steps", 2, "--device", "toy", "-o", output)
    [result] = json.loads(overpaint(folder, "run", *words, "--json"))["results"]
    assert output.is_file()
    assert "a toy" in json.dumps(result)


def test_importing_the_backends_imports_no_library() -> None:
    """They are imported for `overpaint --help`."""
    script = """
        import sys
        import overpaint.engines.backends
        heavy = {"numpy", "msgspec", "onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "cuda"}
        assert not heavy & set(sys.modules), heavy & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)


def test_those_that_auto_takes_come_first_in_the_order_of_their_ranks() -> None:
    ranks = [backend.rank for backend in BACKENDS.values()]
    ranked = [rank for rank in ranks if rank is not None]
    assert ranks[: len(ranked)] == sorted(set(ranked))
