"""TensorRT: plans built from a bundle's graphs, and sessions that run them. docs/tensorrt.md.

Has not run on hardware: it is held against TensorRT's real Python bindings, and tested on a double
whose engines ONNX Runtime runs. `candidate` and `open_session` are what `devices` asks of any way.
"""

from __future__ import annotations

from .choose import candidate, open_session

__all__ = ["candidate", "open_session"]
