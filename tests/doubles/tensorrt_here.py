"""A machine with TensorRT and a GPU, as far as overpaint can tell: doubles in place of modules."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.doubles.cudart_double import CudartDouble
from tests.doubles.tensorrt_double import TensorRTDouble

from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.open import open_bundle
from overpaint.engines.tensorrt import build as builds
from overpaint.engines.tensorrt import cuda as sharing
from overpaint.engines.tensorrt.choose import this_machine
from overpaint.engines.tensorrt.record import BuildRecord
from overpaint.engines.tensorrt.shapes import PictureRange, PictureShape

EMBEDDED = Path(__file__).parents[2] / "runtime/overpaint/runtime/embedded"
VERSION = "11.4.0.106"
RTX_VERSION = "1.7.1.116"


@dataclass
class Here:
    """The doubles; `install` changes what is installed, as pip or another machine would."""

    patch: pytest.MonkeyPatch
    cuda: CudartDouble
    trt: TensorRTDouble

    def install(
        self,
        *,
        full: str | None = None,
        lean: str | None = None,
        rtx: str | None = None,
        cuda: CudartDouble | None = None,
    ) -> None:
        """Have these versions and this GPU; None is not installed, or the GPU as it was."""
        self.cuda = cuda or self.cuda
        self.trt = TensorRTDouble(self.cuda, rtx or full or VERSION)
        modules = {
            "cuda.bindings.runtime": self.cuda,
            "tensorrt": self.trt if full else None,
            "tensorrt_rtx": self.trt if rtx else None,
            "tensorrt_lean": TensorRTDouble(self.cuda, lean, lean=True) if lean else None,
        }
        for name, module in modules.items():
            self.patch.setitem(sys.modules, name, module)
        forget()


def forget() -> None:
    """Forget what was found out about the machine."""
    this_machine.cache_clear()
    sharing._make_cuda.cache_clear()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Here:
    cuda = CudartDouble()
    found = Here(monkeypatch, cuda, TensorRTDouble(cuda))
    found.install(full=VERSION, lean=VERSION)
    return found


def pocket(folder: Path) -> Bundle:
    """A copy of the embedded bundle that may be written to."""
    shutil.copytree(EMBEDDED, folder)
    return open_bundle(folder)


def built(bundle: Bundle, shapes: Sequence[str] = ("1x64x64",), **options: bool) -> BuildRecord:
    """Build TensorRT's plans into `bundle`."""
    asked = [PictureShape.parse(shape) for shape in shapes]
    return builds.build(builds.prepare_build(bundle, asked, **options))


def built_for_rtx(bundle: Bundle, sizes: str = "64:64:128", **options: bool) -> BuildRecord:
    """Build plans of TensorRT for RTX into `bundle`, for a range of sizes."""
    span = PictureRange.parse(sizes)
    return builds.build(builds.prepare_rtx_build(bundle, sizes=span, **options))
