"""What runs a bundle's graphs: sessions on ONNX Runtime, OpenVINO and TensorRT, and the choice."""
