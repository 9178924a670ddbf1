"""Checkpoints on disk: their tensors, and which bytes are which weight of a graph."""
