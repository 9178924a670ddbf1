"""The pocket model: a small img2img model of our own, from its painted data to its bundle.

Development only: nothing here is in the wheel but the bundle that it makes.
"""
