"""A bundle as a model repository of Triton Inference Server: its engines, and the loop."""
