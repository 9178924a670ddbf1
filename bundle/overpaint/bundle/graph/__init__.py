"""ONNX graphs as files: read, counted, bound to weights and rewritten without the onnx package."""
