"""Tiny autoencoders (AutoencoderTiny, TAESD) beside a bundle's own VAE, with no torch.

file      a file or folder, read: which layers there are
graphs    the encoder and the decoder, written by hand
attach    a bundle with both as components of its own
"""
