"""Whatever our source touches of TensorRT and CUDA is there, in NVIDIA's own Python bindings.

TensorRT itself is not on PyPI, its bindings are. They load where three libraries offer nine
symbols, which are compiled here and do nothing: enough to ask what classes there are. The lean
runtime and TensorRT for RTX are on PyPI, bindings and libraries, and are the real ones here.
"""

from __future__ import annotations

import ctypes
import inspect
import subprocess
import sys
import textwrap
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest
from tests.bundle.micro import make_micro
from tests.doubles import cudart_double, tensorrt_double
from tests.doubles.tensorrt_here import Here, built
from tests.doubles.tensorrt_here import here as here
from tests.doubles.trt_surface import Surface, parameters
from tests.programs import needed

from overpaint.bundle.format.open import open_bundle
from overpaint.engines.tensorrt.libraries import short_version

PACKAGE = Path(__file__).parents[3] / "engines/overpaint/engines/tensorrt"
SOURCES = {path.name: path.read_text() for path in sorted(PACKAGE.glob("*.py"))}
OF_RTX = ("cards.py", "kernels.py")
OF_TENSORRT = {name: text for name, text in SOURCES.items() if name not in OF_RTX}
RUN_BY_LEAN = ("engine.py", "execution.py", "loaded.py", "logger.py")
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
SYMBOLS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)
pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="NVIDIA's bindings are for Linux and Windows"
)


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Libraries of TensorRT's names that do nothing, loaded."""
    compiler = needed("cc")
    folder = tmp_path_factory.mktemp("libraries")
    source = folder / "nothing.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in SYMBOLS))
    for library in LIBRARIES:
        name = f"lib{library}.so.11"
        command = [compiler, "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", folder / name, source]
        subprocess.run(command, check=True)
        ctypes.CDLL(str(folder / name))  # locally: others resolve nothing in it


@pytest.fixture(scope="module")
def trt(libraries: None) -> ModuleType:
    import tensorrt_bindings

    return tensorrt_bindings


@pytest.fixture(scope="module")
def lean() -> ModuleType:
    import tensorrt_lean_bindings

    return tensorrt_lean_bindings


@pytest.fixture(scope="module")
def rtx() -> ModuleType:
    import tensorrt_rtx

    return tensorrt_rtx


@pytest.fixture(scope="module")
def cudart() -> ModuleType:
    from cuda.bindings import runtime

    return runtime


def test_the_bindings_are_of_the_major_version_that_plans_are_built_with(trt: ModuleType) -> None:
    assert trt.__version__.startswith("11.")


def test_all_that_is_touched_of_tensorrt_is_there(trt: ModuleType) -> None:
    surface = Surface(trt, "trt").walk(OF_TENSORRT)
    assert surface.findings == []
    classes = {label.split(".")[1] for label in surface.touched}
    assert {"Builder", "OnnxParser", "IBuilderConfig", "ICudaEngine"} <= classes
    assert {"IExecutionContext", "Runtime", "IAttention", "IProgressMonitor"} <= classes
    assert len(surface.touched) > 60


def test_all_that_is_touched_of_tensorrt_for_rtx_is_there(rtx: ModuleType) -> None:
    surface = Surface(rtx, "trt").walk(SOURCES)
    assert surface.findings == []
    assert {
        "trt.ComputeCapability",
        "trt.DynamicShapesKernelSpecializationStrategy",
        "trt.IBuilderConfig.set_compute_capability",
        "trt.IRuntimeCache.deserialize",
        "trt.IRuntimeConfig.set_runtime_cache",
        "trt.ICudaEngine.weight_streaming_budget_v2",
    } <= surface.touched


def test_the_lean_runtime_has_all_that_sessions_touch(lean: ModuleType) -> None:
    surface = Surface(lean, "trt").walk({name: SOURCES[name] for name in RUN_BY_LEAN})
    assert surface.findings == []
    assert "trt.IExecutionContext.execute_async_v3" in surface.touched


def test_the_real_lean_runtime_is_asked_and_its_answer_told(tmp_path: Path) -> None:
    """In a process of its own: without a driver, one wrong touch would end it."""
    plan = tmp_path / "unet.plan"
    plan.write_bytes(b"no plan at all" * 100)
    said = _in_a_process(f"""
from pathlib import Path
from overpaint.engines.tensorrt.loaded import load_plan
from overpaint.engines.tensorrt.libraries import library
load_plan(library("tensorrt_lean"), Path({str(plan)!r}), None, version_compatible=True)
""")
    lean = f"TensorRT {short_version(version('tensorrt-lean-cu13-bindings'))} (lean)"
    without_driver = f"{lean} does not start: createInferRuntime: Error Code 6"
    assert said.startswith((without_driver, f"{plan}: {lean} cannot load this plan: ")), said


def test_a_host_with_the_real_packages_says_why_a_plan_does_not_run(
    here: Here, tmp_path: Path
) -> None:
    """The plan is the double's, and the GPU it was built for is nobody's."""
    bundle = open_bundle(make_micro(tmp_path / "micro"))
    built(bundle)
    said = _in_a_process(f"""
from overpaint.bundle.format.open import open_bundle
from overpaint.engines.choose import choose
choose(open_bundle({str(bundle.folder)!r}), "tensorrt")
""")
    assert said.startswith(f"--device tensorrt cannot run {bundle.folder}: ")
    assert "CUDA failed while looking for a GPU: " in said or "NVIDIA Double" in said, said


def _in_a_process(program: str) -> str:
    """The SessionError that `program` ends in, where tensorrt_lean is the real one."""
    whole = f"""
import sys, tensorrt_lean_bindings
from overpaint.bundle.errors import SessionError
sys.modules["tensorrt_lean"] = tensorrt_lean_bindings
try:
{textwrap.indent(program.strip(), "    ")}
except SessionError as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_all_that_is_touched_of_cuda_is_there(cudart: ModuleType) -> None:
    surface = Surface(cudart, "cudart").walk(SOURCES)
    assert surface.findings == []
    assert "cudart.cudaGraphLaunch" in surface.touched
    assert "cudart.cudaMemcpyKind.cudaMemcpyHostToDevice" in surface.touched


@pytest.mark.parametrize(
    ("line", "finding"),
    [
        ("trt.Bulider(log)", "there is no trt.Bulider"),
        ("trt.Builder(log).create_netwrk(0)", "there is no trt.Builder.create_netwrk"),
        ("trt.Builder(log).create_network(0, 1)", "takes"),
        ("trt.Builder(log).create_network(flag=0)", "takes"),
        ("trt.BuilderFlag.FP16", "there is no trt.BuilderFlag.FP16"),
        ("trt.Builder(log).create_builder_config().max_workspace_size = 1", "cannot be set"),
        ("config = trt.Builder(log).create_builder_config()\n    config.set_flg(0)", "set_flg"),
        ("engine.get_binding_name(0)", "there is no trt.ICudaEngine.get_binding_name"),
        ("loaded.engine.num_bindings", "there is no trt.ICudaEngine.num_bindings"),
        (
            "layer = 1\n    layer.__class__ = trt.IAttentionInputLayer\n    layer.atention",
            "atention",
        ),
        ("[one.dsc() for one in [trt.ParserError() for i in range(2)]]", "dsc"),
    ],
)
def test_what_is_not_there_is_found(trt: ModuleType, line: str, finding: str) -> None:
    """The walker itself: a slip in any of our lines would be seen."""
    source = (
        f"class Engine:\n    engine: trt.ICudaEngine\ndef f(engine: trt.ICudaEngine):\n    {line}"
    )
    findings = Surface(trt, "trt").walk({"slip.py": source}).findings
    assert any(finding in one for one in findings), findings


def test_a_slip_in_our_own_source_is_found(trt: ModuleType) -> None:
    for name, right, wrong in (
        ("execution.py", "execute_async_v3", "execute_async_v4"),
        ("execution.py", "set_device_memory", "set_device_memory_v2"),
        ("builder.py", "attention.decomposable", "attention.decomposible"),
        ("builder.py", "set_timing_cache(cache, False)", "set_timing_cache(cache)"),
        ("loaded.py", "device_memory_size_v2", "device_memory_size"),
        ("builder.py", "one.desc()", "one.description()"),
        ("monitor.py", "def step_complete", "def step_completed"),
    ):
        assert right in SOURCES[name]
        slipped = {**OF_TENSORRT, name: SOURCES[name].replace(right, wrong)}
        assert Surface(trt, "trt").walk(slipped).findings, wrong


def test_a_slip_in_what_only_rtx_has_is_found(rtx: ModuleType) -> None:
    for name, right, wrong in (
        ("kernels.py", "_cache.deserialize", "_cache.deserialise"),
        ("kernels.py", "set_runtime_cache(", "set_cache("),
        ("cards.py", "num_compute_capabilities", "compute_capabilities"),
        ("cards.py", "set_compute_capability(known, index)", "set_compute_capability(known)"),
    ):
        assert right in SOURCES[name]
        slipped = {**SOURCES, name: SOURCES[name].replace(right, wrong)}
        assert Surface(rtx, "trt").walk(slipped).findings, wrong


@pytest.mark.parametrize("double", tensorrt_double.CLASSES, ids=lambda one: one.__name__)
def test_the_double_offers_nothing_that_neither_tensorrt_does(
    trt: ModuleType, rtx: ModuleType, double: type
) -> None:
    both = [getattr(one, double.__name__) for one in (trt, rtx) if hasattr(one, double.__name__)]
    made = vars(double)
    for name in (name for name in made if not name.startswith("_")):
        assert any(hasattr(real, name) for real in both), f"{double.__name__}.{name}"
        real = next(real for real in both if hasattr(real, name))
        if inspect.isfunction(made[name]):
            known = [p for p, _ in parameters(getattr(real, name).__doc__, skip_self=True)]
            ours = list(inspect.signature(made[name]).parameters)[1:]
            assert ours in known, f"{double.__name__}.{name}{ours}: {known}"


def test_the_double_of_cuda_offers_nothing_that_cuda_does_not(cudart: ModuleType) -> None:
    for name, made in vars(cudart_double.CudartDouble).items():
        if not name.startswith("cuda"):
            continue
        real = getattr(cudart, name)
        if inspect.isfunction(made):
            [(known, _)] = parameters(real.__doc__.splitlines()[0], skip_self=False)
            assert list(inspect.signature(made).parameters)[1:] == known, name
        elif isinstance(made, type):
            assert all(int(getattr(real, one.name)) == one.value for one in made), name
        else:
            assert int(real) == made, name
    fields = cudart_double.Properties.__dataclass_fields__
    assert set(fields) <= set(dir(cudart.cudaDeviceProp))
