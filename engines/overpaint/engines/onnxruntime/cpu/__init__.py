"""Sessions on ONNX Runtime's CPU provider."""
