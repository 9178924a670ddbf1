"""Stable Diffusion 1.x."""

from .one_clip import condition

__all__ = ["condition"]
