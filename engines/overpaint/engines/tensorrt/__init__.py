"""TensorRT: plans built from a bundle's graphs, and sessions that run them. docs/tensorrt.md.

Has not run on hardware: it is held against TensorRT's real Python bindings, and tested on a double
whose engines ONNX Runtime runs.
"""
