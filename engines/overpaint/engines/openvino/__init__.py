"""Sessions on OpenVINO's CPU plugin, in float32 or bfloat16. docs/decisions/0011 has the figures.

It reads the same graphs as ONNX Runtime, weights and all: OpenVINO maps the safetensors file where
the graph points.
"""
