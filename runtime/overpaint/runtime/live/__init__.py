"""Frames in, frames out: what stays the same is fixed once, and frames overlap.

settings    what is asked of a live run, and what is not
scene       everything fixed: text, schedule, noise, the denoiser's bound inputs
frame       one frame through its stages
line        stages on threads of their own, so that frames overlap
live        the object that a caller holds
"""
