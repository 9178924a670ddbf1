"""Small hosts: one large engine in memory at a time, and a run for somebody who owns nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.conftest import BuildOnce
from tests.doubles.engines import fake_pipeline
from tests.runtime.heavy import WEIGHT, make_heavy
from tests.runtime.test_pipeline import BLUE

HOUSE = Path(__file__).parents[2]
LIMIT = 10**9

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="memory is measured by Linux's own counters"
)


def test_low_memory_holds_one_large_engine_at_a_time(build_once: BuildOnce) -> None:
    """By the kernel's peak counter: a run needs what its largest engine needs alone."""
    bundle = build_once("heavy", make_heavy_at)
    program = [sys.executable, "-m", "tests.runtime.heavy", str(bundle)]
    done = subprocess.run(program, cwd=HOUSE, capture_output=True, text=True, check=True)
    peaks = json.loads(done.stdout)
    print(f"peaks in MiB, engines of {WEIGHT:.0f} each: {peaks}")
    assert peaks["low memory"] < peaks["one engine"] + WEIGHT / 2
    assert peaks["usual"] > peaks["low memory"] + 2 * WEIGHT, "the measure sees what is resident"


def make_heavy_at(folder: Path) -> None:
    made = make_heavy(folder.with_name("heavy.fake"))
    made.rename(folder)


def test_a_second_picture_with_the_same_prompt_opens_no_text_encoder(tmp_path: Path) -> None:
    pipe, engines = fake_pipeline(tmp_path, low_memory=True)
    pipe(BLUE, "red", negative_prompt="green")
    pipe(BLUE.rotate(90), "red", negative_prompt="green", seed=5)
    opened = [session.name for session in engines.opened]
    assert opened.count("text_encoder") == 2  # the prompt, the negative one, once each
    assert opened.count("unet") == 2


PROGRAM = """
import io, os, resource, sys
resource.setrlimit(resource.RLIMIT_DATA, (MOST, MOST))
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
assert os.getuid() != 0 and not {"HOME", "XDG_CACHE_HOME"} & set(os.environ)
try:
    open("new", "w").close()
except OSError:
    pass
else:
    raise SystemExit("the folder can be written to")
from PIL import Image
from overpaint.runtime import Img2Img
with Img2Img.open(sys.argv[1], device="cpu") as pipe:
    picture = Image.linear_gradient("L").resize((128, 96)).convert("RGB")
    result = pipe(picture, "winter", strength=0.6, steps=5, seed=0)
    assert result.images[0].size == (128, 96) and result.steps_run == 3, result
result.images[0].save(io.BytesIO(), "PNG")
status = open("/proc/self/status").read()
print(int(status.split("VmHWM:")[1].split()[0]) * 1024)
"""


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """One that everybody may enter; pytest's own are closed."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_somebody_who_owns_nothing_repaints_on_one_core_within_a_gigabyte(
    public_folder: Path, request: pytest.FixtureRequest
) -> None:
    """No HOME, one core, nothing to write to, and 1 GB.

    The limit that the kernel enforces is RLIMIT_DATA: the memory that is the process's own.
    RLIMIT_AS would count address space, of which the libraries and each thread's heap reserve
    hundreds of megabytes that never become memory. What is resident, mapped files included, is
    measured as well. RLIMIT_FSIZE 0 lets no file grow, wherever it is: a read-only file system for
    whoever may mount none.
    """
    bundle = shutil.copytree(_bundle(request), public_folder / "bundle")
    for path in (bundle, *bundle.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    program = PROGRAM.replace("MOST", str(LIMIT))
    done = subprocess.run(
        [*_as_nobody(), sys.executable, "-c", program, str(bundle)],
        cwd=bundle,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    peak = int(done.stdout)
    print(f"peak resident: {peak / 1e6:.0f} MB")
    assert peak < LIMIT


def _as_nobody() -> list[str]:
    """What makes of root an ordinary user; whoever is one already needs nothing.

    He may read all there is, because the interpreter may lie in root's own folder; he may write
    nothing.
    """
    if os.getuid() != 0:
        return []
    reading = ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
    return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *reading]


def _bundle(request: pytest.FixtureRequest) -> Path:
    """The embedded model where there is one, else a tiny one."""
    [runtime] = find_spec("overpaint.runtime").submodule_search_locations  # type: ignore[union-attr, misc]
    embedded = Path(runtime) / "embedded"
    if (embedded / "overpaint.json").is_file():
        return embedded
    return request.getfixturevalue("tiny_sd1_bundle")  # type: ignore[no-any-return]
