"""One way to run a bundle, and whether it can here: what every module that runs one answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Device: TypeAlias = Literal["tensorrt", "cuda", "cpu", "openvino", "ort-tensorrt"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to run a bundle: whether it can here, and why or why not.

    `why` is a clause for people, without a full stop: "the bundle has no TensorRT plan".
    """

    device: Device
    available: bool
    why: str
    on_request: bool = False  # "auto" does not take it
