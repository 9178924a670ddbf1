"""LoRA files, and fusing them into a bundle."""
