"""Pictures larger than what is computed at a time: windows that cover them, and their blending."""
