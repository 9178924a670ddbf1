"""Sessions on ONNX Runtime's CUDA provider. docs/cuda.md says what it does, and why.

Has not run on hardware: it is tested on the real provider over a CUDA without a GPU, and on a
double whose numbers are the processor's. `candidate` and `open_session` are what `devices` asks of
every way.
"""

from __future__ import annotations

from .choose import candidate, open_session

__all__ = ["candidate", "open_session"]
