"""ONNX Runtime, on the processor (cpu) and on NVIDIA's GPUs (cuda)."""
