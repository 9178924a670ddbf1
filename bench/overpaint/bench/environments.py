"""What peers need in environments of their own, as pip is told it; any interpreter reads this."""

from __future__ import annotations

from typing import Final

# torch by its exact version: an open range would bring gigabytes of CUDA with it on some indexes.
TORCH: Final = ("torch==2.13.0",)
OPTIMUM: Final = (
    *("optimum-onnx==0.1.0", "transformers<4.58", "diffusers==0.35.2"),
    *("onnx==1.19.1", "onnxruntime==1.23.2", *TORCH),
)
# It pins a diffusers of 2023, and runs with ours.
STREAMDIFFUSION: Final = ("--no-deps", "streamdiffusion==0.1.1")
# optimum converts, and is not there when pictures are made.
OPENVINO_GENAI: Final = (*TORCH, "openvino-genai==2026.4.*", "optimum-intel", "diffusers")
# Compiled where it is installed, for that processor.
STABLE_DIFFUSION_CPP: Final = ("stable-diffusion-cpp-python==0.4.7", "numpy", "pillow")
