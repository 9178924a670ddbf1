"""IP-Adapter: reference pictures as tokens that a denoiser's cross-attentions see beside the text.

Ye et al. 2023, "IP-Adapter: Text Compatible Image Prompt Adapter for Text-to-Image Diffusion
Models". docs/ip-adapter.md has what a bundle of one holds.
"""
