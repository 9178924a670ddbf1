"""Control networks: diffusers' ControlNets as graphs, their bundles, and their own library.

    from overpaint.export.control import export_controlnet
    export_controlnet("checkpoints/canny", "bundles/canny")

They are traced as the networks of a checkpoint are, and carried in a library of their own.
"""

from .bundle import export_controlnet

__all__ = ["export_controlnet"]
