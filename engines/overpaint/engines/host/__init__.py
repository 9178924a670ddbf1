"""What this machine has: cores, instruction sets, an NVIDIA driver."""
