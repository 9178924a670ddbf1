"""NVIDIA's two TensorRTs, as far as they differ. They offer the same classes under the same names.

TensorRT measures kernels on the GPU in front of it: a plan is for exact sizes and for that GPU's
compute capability. TensorRT for RTX measures nothing and needs no GPU to build: its engine serves
several generations of cards and a range of sizes, and is specialised for card and size where it
runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Name: TypeAlias = Literal["tensorrt", "tensorrt-rtx"]

FULL: Final = "tensorrt"
LEAN: Final = "tensorrt_lean"
RTX_PACKAGE: Final = "tensorrt_rtx"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edition:
    """One TensorRT.

    name: what users say after --engine and --device.
    title: what NVIDIA calls it.
    prefix: what the names of its plans' folders begin with.
    builder: the Python package that builds.
    runtimes: those that run what was built, the smallest first.
    extra: the extra whose packages run what was built.
    portable: whether a plan is built without a GPU, for several compute capabilities and ranges of
        sizes, to be specialised where it runs.
    """

    name: Name
    title: str
    prefix: str
    builder: str
    runtimes: tuple[str, ...]
    extra: str
    portable: bool


TENSORRT: Final = Edition(
    name="tensorrt",
    title="TensorRT",
    prefix="trt",
    builder=FULL,
    runtimes=(LEAN, FULL),
    extra="tensorrt-lean",
    portable=False,
)
RTX: Final = Edition(
    name="tensorrt-rtx",
    title="TensorRT for RTX",
    prefix="rtx",
    builder=RTX_PACKAGE,
    runtimes=(RTX_PACKAGE,),
    extra="tensorrt-rtx",
    portable=True,
)
EDITIONS: Final[Mapping[str, Edition]] = {edition.name: edition for edition in (TENSORRT, RTX)}
