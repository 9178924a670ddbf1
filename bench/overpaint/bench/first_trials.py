"""What first trials on another processor led us to expect, beside what is measured here."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from .records import Report
from .sheets import Sheet

UNET_STEP: Final = "unet-step-cpu.json"
# Seconds of a step of SD 1.5's UNet, batch 2 at 512x512, and the error in bfloat16.
_STEPS: Final = {
    "torch": ("torch eager, float32", "7.4 s"),
    "torch-bf16": ("torch eager, bfloat16", "4.25 s"),
    "onnxruntime": ("ONNX Runtime, float32", "4.45 s"),
    "openvino": ("OpenVINO, float32", "3.9 s"),
    "openvino-bf16": ("OpenVINO, bfloat16", "2.3 s, error 2.2 %"),
}
_FOOTPRINT: Final = {
    "overpaint": ("235 MB, 0.4 s, 81 MB (bare sessions)"),
    "diffusers": ("1,490 MB, 4.7 s, 454 MB"),
    "optimum": ("1,315 MB, 4.9 s, 494 MB"),
}


def first_trials(results: Path, footprint: Report | None) -> Sheet | None:
    """A table of both, of those figures that were taken here; None where there is none."""
    sheet = Sheet.of("", "first trials", "here")
    path = results / UNET_STEP
    if path.is_file():
        _steps(sheet, json.loads(path.read_text("utf-8")))
    for one in footprint.footprint if footprint else ():
        if one.status == "ok" and one.environment in _FOOTPRINT:
            sheet.add(
                f"{one.environment}: environment, first image, resident",
                _FOOTPRINT[one.environment],
                f"{one.installed_mb:,.0f} MB, {one.first_image_s:.1f} s, {one.resident_mb:.0f} MB",
            )
    return sheet if sheet.rows else None


def _steps(sheet: Sheet, told: Mapping[str, Any]) -> None:
    for form, (name, expected) in _STEPS.items():
        if form in told["forms"]:
            sheet.add(f"SD 1.5's UNet, a step: {name}", expected, _step(told["forms"][form]))
    sheet.add(
        "arithmetic of that step, attention included",
        "1.354 TFLOP without it",
        f"{told['tflop']} TFLOP ({told['tflop_without_attention']} without)",
    )
    sheet.add(
        "its floor in float32",
        "3.1 s at 440 GFLOP/s",
        f"{told['floor_s']} s at {told['matrix_gflops']:.0f} GFLOP/s",
    )


def _step(one: Mapping[str, Any]) -> str:
    error = f", error {one['relative_error']:.1%}" if one.get("relative_error", 0) > 1e-3 else ""
    return f"{statistics.median(one['step_s']):.2f} s{error}"
