"""Stable Diffusion 2.x, as the first."""

from .one_clip import condition

__all__ = ["condition"]
