"""Latency, memory and footprint, alone and against peers."""
