"""ONNX Runtime's CUDA provider. docs/cuda.md says what it does, and why.

Has not run on hardware: it is tested on the real provider over a CUDA without a GPU, and on a
double whose numbers are the processor's.
"""
