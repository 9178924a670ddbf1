"""Control networks: bundles of their own that steer a denoiser by a picture (ControlNet).

facts      what a network is, by its config
open       such a bundle, checked
residuals  a denoiser's graph with an input for each of its skips
extend     the bundle that runs with them
"""
