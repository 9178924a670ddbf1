"""Which plan runs: every reason why one does not fit is told, with the command that mends it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec
import pytest
from tests.bundle.micro import make_micro
from tests.doubles.cudart_double import CudartDouble
from tests.doubles.tensorrt_here import VERSION, Here, built
from tests.doubles.tensorrt_here import here as here

from overpaint.bundle.errors import SessionError
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.manifest_file import write_manifest
from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.installed import install_command
from overpaint.engines.choose import candidates, choose, open_session
from overpaint.engines.describe import describe
from overpaint.engines.tensorrt import choose as choosing
from overpaint.engines.tensorrt.edition import TENSORRT
from overpaint.engines.tensorrt.fit import Machine, misfits, runtime_for
from overpaint.engines.tensorrt.record import BuildRecord


@pytest.fixture
def bundle(here: Here, tmp_path: Path) -> Bundle:
    made = open_bundle(make_micro(tmp_path / "micro"))
    built(made)
    return open_bundle(made.folder)


def why(bundle: Bundle) -> str:
    """Why TensorRT does not run `bundle`, as `overpaint info` and --device say it."""
    one = candidates(bundle)[0]
    assert (one.device, one.available) == ("tensorrt", False)
    with pytest.raises(SessionError) as caught:
        choose(bundle, "tensorrt")
    assert one.why in str(caught.value)
    assert choose(bundle).chosen.device == "cpu"
    return one.why


def build(bundle: Bundle) -> str:
    return f"overpaint build {bundle.folder} --engine tensorrt"


def test_a_plan_that_fits_is_taken_before_everything_else(bundle: Bundle) -> None:
    chosen = choose(bundle).chosen
    assert chosen.device == "tensorrt"
    assert chosen.why == f"tensorrt_lean {VERSION} on NVIDIA Double, plans for 1x64x64"
    assert describe(bundle).runs_on == "tensorrt"


def test_without_a_plan_nothing_of_nvidia_is_imported(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = open_bundle(make_micro(tmp_path / "bare"))
    monkeypatch.setattr(choosing, "this_machine", lambda edition: pytest.fail("it was asked"))
    assert why(bare) == f"the bundle has no TensorRT plan; make one: {build(bare)}"


def test_another_gpu_is_named_with_the_command(bundle: Bundle, here: Here) -> None:
    here.install(lean=VERSION, cuda=CudartDouble("NVIDIA Ada", (8, 9)))
    assert why(bundle) == (
        "plans/trt11.4-sm90-linux-x86_64: built for compute capability 9.0 (NVIDIA Double), and "
        f"this GPU has 8.9 (NVIDIA Ada): {build(bundle)} --shape 1x64x64"
    )


def test_an_older_tensorrt_is_to_be_upgraded(bundle: Bundle, here: Here) -> None:
    here.install(full="11.2.1.7", lean="11.3.0.1")
    assert why(bundle) == (
        "plans/trt11.4-sm90-linux-x86_64: built with TensorRT 11.4.0.106, and here is "
        "tensorrt_lean 11.3.0.1, tensorrt 11.2.1.7: "
        "pip install --upgrade 'tensorrt-lean>=11.4.0,<12' cuda-python"
    )


def test_without_any_tensorrt_the_lean_one_is_named(bundle: Bundle, here: Here) -> None:
    here.install()
    assert "and here is no TensorRT: pip install --upgrade 'tensorrt-lean>=11.4.0,<12'" in why(
        bundle
    )


def test_without_cuda_python_its_extra_is_named(
    bundle: Bundle, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    assert why(bundle) == f"CUDA cannot be asked: {install_command('tensorrt-lean')}"


def test_without_a_gpu_cuda_is_quoted(bundle: Bundle, here: Here) -> None:
    here.cuda.devices = 0
    assert why(bundle) == "CUDA failed while looking for a GPU: cudaErrorNoDevice"


def test_other_weights_under_the_same_graph_are_noticed(bundle: Bundle) -> None:
    """One graph serves every fine-tune of an architecture, and a plan holds weights."""
    weights = bundle.folder / "unet/weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    files = dict(bundle.manifest.files)
    other = msgspec.structs.replace(files["unet/weights.safetensors"], sha256="1" * 64)
    files["unet/weights.safetensors"] = other
    changed = Bundle(bundle.folder, msgspec.structs.replace(bundle.manifest, files=files))
    assert "unet has another graph or other weights than when its plan was built: overp" in why(
        changed
    )


def test_a_missing_plan_is_noticed(bundle: Bundle) -> None:
    path = bundle.folder / "plans/trt11.4-sm90-linux-x86_64/build.json"
    written = json.loads(path.read_bytes())
    del written["plans"]["vae_decoder"]
    path.write_text(json.dumps(written))
    assert "there is no plan for vae_decoder" in why(bundle)


def test_a_record_that_cannot_be_read_is_told_as_such(bundle: Bundle) -> None:
    (bundle.folder / "plans/trt11.4-sm90-linux-x86_64/build.json").write_text('{"version": 1}')
    assert "not the record of a build that this overpaint reads" in why(bundle)


def test_every_difference_is_said_at_once(bundle: Bundle, here: Here) -> None:
    here.install(full="11.1.0.2", cuda=CudartDouble("NVIDIA Ada", (8, 9)))
    said = why(bundle)
    assert "compute capability 9.0" in said
    assert "built with TensorRT 11.4.0.106" in said


def test_several_folders_of_plans_are_searched(bundle: Bundle, here: Here) -> None:
    here.install(full=VERSION, lean=VERSION, cuda=CudartDouble("NVIDIA Ada", (8, 9)))
    built(bundle)
    both = open_bundle(bundle.folder)
    assert choose(both).chosen.why.endswith("on NVIDIA Ada, plans for 1x64x64")
    here.install(lean=VERSION, cuda=CudartDouble())
    assert choose(both).chosen.why.endswith("on NVIDIA Double, plans for 1x64x64")
    here.install(lean=VERSION, cuda=CudartDouble("NVIDIA Old", (7, 5)))
    assert why(both).count("built for compute capability") == 2


def record(tensorrt: str, compatible: bool) -> BuildRecord:
    return BuildRecord(
        engine="tensorrt",
        target="t",
        tensorrt=tensorrt,
        compute_capabilities=("9.0",),
        gpu="NVIDIA Double",
        platform="linux-x86_64",
        shapes=("1x64x64",),
        flags=("VERSION_COMPATIBLE",) * compatible,
        overpaint="0.1.0",
        plans={},
    )


@pytest.mark.parametrize(
    ("built_with", "compatible", "runtimes", "runs_on"),
    [
        ("11.4.0.106", True, {"tensorrt_lean": "11.4.0.106"}, "tensorrt_lean"),
        ("11.4.0.106", True, {"tensorrt": "11.4.0.106"}, "tensorrt"),
        (
            "11.4.0.106",
            True,
            {"tensorrt": "11.4.0.106", "tensorrt_lean": "11.4.0.106"},
            "tensorrt_lean",
        ),
        ("11.4.0.106", True, {"tensorrt_lean": "11.9.2.1"}, "tensorrt_lean"),
        ("11.4.0.106", True, {"tensorrt_lean": "11.4.0.12"}, "tensorrt_lean"),  # builds alike
        ("11.4.1.1", True, {"tensorrt_lean": "11.4.0.106"}, None),
        ("11.4.0.106", True, {"tensorrt_lean": "11.3.0.9", "tensorrt": "11.5.0.1"}, "tensorrt"),
        ("11.4.0.106", True, {"tensorrt": "12.0.0.1"}, None),
        ("11.4.0.106", False, {"tensorrt": "11.4.0.106"}, "tensorrt"),
        ("11.4.0.106", False, {"tensorrt_lean": "11.4.0.106"}, None),
        ("11.4.0.106", False, {"tensorrt": "11.4.0.107"}, None),
        ("11.4.0.106", True, {}, None),
    ],
)
def test_versions_that_fit(
    built_with: str, compatible: bool, runtimes: dict[str, str], runs_on: str | None
) -> None:
    machine = Machine(
        gpu="g",
        compute_capability="9.0",
        driver="13000",
        platform="linux-x86_64",
        runtimes=runtimes,
    )
    assert runtime_for(record(built_with, compatible), machine) == runs_on


def test_another_platform_does_not_fit(bundle: Bundle) -> None:
    machine = Machine(
        gpu="NVIDIA Double",
        compute_capability="9.0",
        driver="13000",
        platform="linux-aarch64",
        runtimes={"tensorrt_lean": VERSION},
    )
    [made] = choosing.known_plans(bundle, TENSORRT)
    made_of = {name: plan.made_of for name, plan in made.record.plans.items()}
    [misfit] = misfits(made.record, made_of, machine)
    assert misfit.differs == "built for linux-x86_64, and this is linux-aarch64"


def test_an_exact_plan_names_the_version_that_it_needs(here: Here, tmp_path: Path) -> None:
    made = open_bundle(make_micro(tmp_path / "micro"))
    built(made, exact_version=True)
    bundle = open_bundle(made.folder)
    assert choose(bundle).chosen.why.startswith(f"tensorrt {VERSION} on")
    here.install(full="11.4.0.107", lean=VERSION)
    assert f"pip install tensorrt=={VERSION} cuda-python" in why(bundle)


def test_an_exact_plan_is_taken_before_a_compatible_one(bundle: Bundle, here: Here) -> None:
    built(bundle, exact_version=True)
    both = open_bundle(bundle.folder)
    assert choose(both).chosen.why.startswith(f"tensorrt {VERSION} on")
    here.install(lean=VERSION)
    assert choose(both).chosen.why.startswith(f"tensorrt_lean {VERSION} on")


def test_a_sibling_of_the_gpu_runs_the_plan_and_is_told_so(bundle: Bundle, here: Here) -> None:
    here.install(lean=VERSION, cuda=CudartDouble("NVIDIA Sibling", (9, 0)))
    assert choose(bundle).chosen.why == (
        f"tensorrt_lean {VERSION} on NVIDIA Sibling, plans for 1x64x64, tuned on NVIDIA Double"
    )
    with open_session(bundle, "unet", "tensorrt") as session:
        assert session.device == "TensorRT 11.4 (lean) on NVIDIA Sibling"


def test_a_tensorrt_that_does_not_load_is_quoted(
    bundle: Bundle, here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.install()
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.11: not found')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt")
    assert "tensorrt is installed, but does not load: libnvinfer.so.11: not found" in why(bundle)
    sys.modules.pop("tensorrt", None)


def test_plans_without_a_record_are_not_run(bundle: Bundle) -> None:
    files = {p: f for p, f in bundle.manifest.files.items() if not p.endswith("build.json")}
    write_manifest(bundle.folder, msgspec.structs.replace(bundle.manifest, files=files))
    assert why(open_bundle(bundle.folder)) == "the bundle's plans have no build.json"
