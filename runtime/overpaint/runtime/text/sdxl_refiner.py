"""Stable Diffusion XL's refiner, as the base, with an aesthetic score among its time ids."""

from .sdxl import condition

__all__ = ["condition"]
