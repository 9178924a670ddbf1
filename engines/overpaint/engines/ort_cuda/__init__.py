"""Sessions on ONNX Runtime's CUDA provider. docs/cuda.md says what it does, and why.

Has not run on hardware: it is built and tested against ONNX Runtime's real Python module and a
double of its CUDA side. `candidate` and `open_session` are what `devices` asks of every way.
"""

from __future__ import annotations

from .choose import candidate, open_session

__all__ = ["candidate", "open_session"]
